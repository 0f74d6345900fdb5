import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.Properties;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * Kafka Streams, as its tutorials have it, until it is ended:
 *
 * <pre>
 * wordcount BROKER STATE FROM TO         counts the words of FROM's values
 * join      BROKER STATE LEFT RIGHT TO   pairs records of one key within ten seconds of each other
 * </pre>
 *
 * Both exactly once. Nothing is cached, so that each step shows: a word seen n times gives 1 to n. Words with a
 * '=' behind these are settings.
 */
public final class Streams {
    private static final Serde<String> TEXT = Serdes.String();

    private static void wordCount(StreamsBuilder builder, String from, String to) {
        builder.stream(from, Consumed.with(TEXT, TEXT))
            .flatMapValues(line -> Arrays.asList(line.toLowerCase(Locale.ROOT).split("\\W+")))
            .groupBy((key, word) -> word, Grouped.with(TEXT, TEXT))
            .count(Materialized.<String, Long, KeyValueStore<Bytes, byte[]>>as("counts")
                .withKeySerde(TEXT).withValueSerde(Serdes.Long()))
            .toStream()
            .mapValues(String::valueOf)
            .to(to, Produced.with(TEXT, TEXT));
    }

    private static void join(StreamsBuilder builder, String left, String right, String to) {
        KStream<String, String> rights = builder.stream(right, Consumed.with(TEXT, TEXT));
        builder.stream(left, Consumed.with(TEXT, TEXT))
            .join(rights, (l, r) -> l + "+" + r,
                JoinWindows.ofTimeDifferenceAndGrace(Duration.ofSeconds(10), Duration.ofHours(24)),
                StreamJoined.with(TEXT, TEXT, TEXT))
            .to(to, Produced.with(TEXT, TEXT));
    }

    public static void main(String[] w) {
        StreamsBuilder builder = new StreamsBuilder();
        if (w[0].equals("wordcount")) {
            wordCount(builder, w[3], w[4]);
        } else {
            join(builder, w[3], w[4], w[5]);
        }
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "e2e-" + w[0]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, w[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, w[2]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 0);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 100);
        settings.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
        // What a killed instance left open is aborted soon, and its successor can read on.
        settings.put(StreamsConfig.producerPrefix("transaction.timeout.ms"), 5000);
        for (String word : w) {
            if (word.contains("=")) {
                settings.put(word.substring(0, word.indexOf('=')), word.substring(word.indexOf('=') + 1));
            }
        }
        // With the newer protocol the broker says how often members send heartbeats.
        if (!"streams".equals(settings.get(StreamsConfig.GROUP_PROTOCOL_CONFIG))) {
            settings.put(StreamsConfig.consumerPrefix("session.timeout.ms"), 6000);
            settings.put(StreamsConfig.consumerPrefix("heartbeat.interval.ms"), 300);
        }
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        streams.setStateListener((now, before) -> System.out.println("state " + now));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            return org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse
                .SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(30))));
        streams.start();
    }
}
