import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Workers of a share group, each a consumer of its own. Tells, with the time in milliseconds, of each
 * record that it gets and of each whose acceptance the broker has confirmed:
 *
 *   TIME got VALUE COUNT
 *   TIME accepted VALUE
 *
 * usage: ShareWorker.java BOOTSTRAP TOPIC GROUP WORKERS MODE SLEEP_MS
 *
 * MODE: accept (each after a sleep), hold (keep what the first poll gives), choose (of the numbers that are
 * the values reject what 3 divides, release the other even ones once, accept the rest).
 */
class ShareWorker {
    static void say(String what) {
        synchronized (System.out) {
            System.out.println(System.currentTimeMillis() + " " + what);
            System.out.flush();
        }
    }

    static AcknowledgeType choose(ConsumerRecord<String, String> record) {
        int number = Integer.parseInt(record.value());
        if (number % 3 == 0) {
            return AcknowledgeType.REJECT;
        }
        boolean isFirst = record.deliveryCount().orElse((short) 0) == 1;
        return isFirst && number % 2 == 0 ? AcknowledgeType.RELEASE : AcknowledgeType.ACCEPT;
    }

    static void work(String[] args) throws Exception {
        String mode = args[4];
        Properties settings = new Properties();
        settings.putAll(Map.of("bootstrap.servers", args[0], "group.id", args[2], "max.poll.records", "5",
            "share.acknowledgement.mode", "explicit", "share.acquire.mode", "record_limit",
            "reconnect.backoff.max.ms", "200", "request.timeout.ms", "5000", "default.api.timeout.ms", "20000"));
        try (var consumer =
                new KafkaShareConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(500));
                for (var record : records) {
                    say("got " + record.value() + " " + record.deliveryCount().orElse((short) 0));
                }
                if (mode.equals("hold") && !records.isEmpty()) {
                    Thread.sleep(Long.MAX_VALUE);
                }
                for (var record : records) {
                    Thread.sleep(Long.parseLong(args[5]));
                    var kind = mode.equals("choose") ? choose(record) : AcknowledgeType.ACCEPT;
                    consumer.acknowledge(record, kind);
                    if (kind == AcknowledgeType.ACCEPT) {
                        settle(consumer, record.value());
                    }
                }
            }
        }
    }

    /** Nothing is said if the broker does not confirm: then the record comes again, to anybody. */
    static void settle(KafkaShareConsumer<String, String> consumer, String value) {
        for (var outcome : consumer.commitSync().values()) {
            if (outcome.isPresent()) {
                say("refused " + value + " " + outcome.get());
                return;
            }
            say("accepted " + value);
        }
    }

    public static void main(String[] args) {
        for (int i = 0; i < Integer.parseInt(args[3]); i++) {
            new Thread(() -> {
                while (true) {
                    try {
                        work(args);
                    } catch (Exception error) {
                        say("failed " + error);
                    }
                }
            }).start();
        }
    }
}
