import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ConsumerGroupListing;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Apache Kafka's own client, in what its releases since 2.8 have in common, so that one program is built
 * against each. The words are those of ../README.md; after them come further settings, key=value.
 */
public final class Plain {
    private static Properties settings(String broker, String[] more) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", broker);
        for (String setting : more) {
            String[] parts = setting.split("=", 2);
            settings.put(parts[0], parts[1]);
        }
        return settings;
    }

    private static KafkaProducer<String, String> producer(Properties settings) {
        settings.put("acks", "all");
        settings.put("enable.idempotence", "true");
        return new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer());
    }

    private static void produce(String broker, String topic, int count, String codecs) throws Exception {
        int n = 0;
        for (String codec : codecs.split(",")) {
            Properties settings = settings(broker, new String[] {"compression.type=" + codec, "linger.ms=20"});
            try (KafkaProducer<String, String> producer = producer(settings)) {
                List<Future<RecordMetadata>> sent = new ArrayList<>();
                for (int end = n + count; n < end; n++) {
                    ProducerRecord<String, String> record = new ProducerRecord<>(topic, "k" + n, "java-" + n);
                    record.headers().add("origin", "java".getBytes()).add("n", String.valueOf(n).getBytes());
                    sent.add(producer.send(record));
                }
                for (Future<RecordMetadata> one : sent) {
                    one.get();
                }
            }
        }
    }

    private static KafkaConsumer<String, String> consumer(String broker, String group, String[] more) {
        Properties settings = settings(broker, more);
        settings.put("group.id", group);
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        if (!"consumer".equals(settings.get("group.protocol"))) {
            settings.put("session.timeout.ms", "6000");
            settings.put("heartbeat.interval.ms", "300");
        }
        return new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer());
    }

    private static String quoted(String text) {
        return text == null ? "null" : '"' + text + '"';
    }

    private static String json(ConsumerRecord<String, String> record) {
        List<String> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(quoted(header.key()) + ":" + quoted(new String(header.value())));
        }
        return "{\"key\":" + quoted(record.key()) + ",\"value\":" + quoted(record.value())
            + ",\"headers\":{" + String.join(",", headers) + "},\"partition\":" + record.partition()
            + ",\"offset\":" + record.offset() + "}";
    }

    private static Map<TopicPartition, OffsetAndMetadata> next(Iterable<ConsumerRecord<String, String>> records) {
        Map<TopicPartition, OffsetAndMetadata> next = new HashMap<>();
        for (ConsumerRecord<String, String> record : records) {
            TopicPartition partition = new TopicPartition(record.topic(), record.partition());
            next.put(partition, new OffsetAndMetadata(record.offset() + 1));
        }
        return next;
    }

    private static void consume(
        String broker, String topic, int count, String group, String isolation, String[] more
    ) {
        String[] settings = new String[more.length + 1];
        System.arraycopy(more, 0, settings, 0, more.length);
        settings[more.length] = "isolation.level=" + isolation;
        try (KafkaConsumer<String, String> consumer = consumer(broker, group, settings)) {
            consumer.subscribe(Collections.singletonList(topic));
            for (int seen = 0; seen < count;) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofSeconds(1));
                records.forEach(record -> System.out.println(json(record)));
                seen += records.count();
                consumer.commitSync(next(records));
            }
        }
    }

    private static void member(String broker, String topic, String group, String[] more) {
        TreeSet<Integer> has = new TreeSet<>();
        try (KafkaConsumer<String, String> consumer = consumer(broker, group, more)) {
            consumer.subscribe(Collections.singletonList(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    partitions.forEach(partition -> has.add(partition.partition()));
                    System.out.println("assigned " + has);
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    partitions.forEach(partition -> has.remove(partition.partition()));
                    System.out.println("assigned " + has);
                }
            });
            while (true) {
                for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) {
                    System.out.println("read " + record.partition() + " " + record.offset());
                    consumer.commitSync(next(Collections.singletonList(record)));
                }
            }
        }
    }

    private static void transactions(String broker, String topic, int txns, int per) throws Exception {
        Properties settings = settings(broker, new String[] {"transactional.id=e2e-java"});
        try (KafkaProducer<String, String> producer = producer(settings)) {
            producer.initTransactions();
            for (int t = 0; t < txns; t++) {
                String fate = t % 2 == 0 ? "commit" : "abort";
                producer.beginTransaction();
                for (int i = 0; i < per; i++) {
                    producer.send(new ProducerRecord<>(topic, "k" + i, fate + "-" + t + "-" + i));
                }
                producer.flush();
                if (t % 2 == 0) {
                    producer.commitTransaction();
                } else {
                    producer.abortTransaction();
                }
            }
        }
    }

    private static void copy(String broker, String from, String to, int count, String group, String[] more) {
        Properties settings = settings(broker, new String[] {"transactional.id=copy-" + group});
        try (KafkaProducer<String, String> producer = producer(settings);
             KafkaConsumer<String, String> consumer = consumer(broker, group, more)) {
            producer.initTransactions();
            consumer.subscribe(Collections.singletonList(from));
            for (int copied = 0, turn = 1; copied < count;) {
                ConsumerRecords<String, String> records = consumer.poll(Duration.ofSeconds(1));
                if (records.isEmpty()) {
                    continue;
                }
                producer.beginTransaction();
                for (ConsumerRecord<String, String> record : records) {
                    String loud = record.value().toUpperCase(Locale.ROOT);
                    producer.send(new ProducerRecord<>(to, record.key(), loud));
                }
                producer.sendOffsetsToTransaction(next(records), consumer.groupMetadata());
                if (turn++ % 3 == 0) {
                    producer.abortTransaction();
                    for (TopicPartition partition : records.partitions()) {
                        consumer.seek(partition, records.records(partition).get(0).offset());
                    }
                } else {
                    producer.commitTransaction();
                    copied += records.count();
                }
            }
        }
    }

    private static List<Long> offsets(Admin admin, String topic, OffsetSpec spec) throws Exception {
        List<Long> offsets = new ArrayList<>();
        for (int partition = 0; partition < 3; partition++) {
            TopicPartition one = new TopicPartition(topic, partition);
            offsets.add(admin.listOffsets(Collections.singletonMap(one, spec)).partitionResult(one).get().offset());
        }
        return offsets;
    }

    private static List<Long> committed(Admin admin, String group) throws Exception {
        Map<Integer, Long> committed = new TreeMap<>();
        admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()
            .forEach((partition, offset) -> committed.put(partition.partition(), offset.offset()));
        return new ArrayList<>(committed.values());
    }

    private static List<String> groups(Admin admin) throws Exception {
        List<String> groups = new ArrayList<>();
        for (ConsumerGroupListing group : admin.listConsumerGroups().all().get()) {
            groups.add(quoted(group.groupId()));
        }
        return groups;
    }

    private static List<String> topics(Admin admin) throws Exception {
        List<String> names = new ArrayList<>();
        for (String name : new TreeSet<>(admin.listTopics().names().get())) {
            names.add(quoted(name));
        }
        return names;
    }

    private static void admin(String broker, String topic, String group) throws Exception {
        Map<String, Object> told = new TreeMap<>();
        try (Admin admin = Admin.create(settings(broker, new String[0]))) {
            NewTopic wanted = new NewTopic(topic, Optional.of(2), Optional.empty())
                .configs(Collections.singletonMap("retention.ms", "3600000"));
            told.put("created", admin.createTopics(Collections.singleton(wanted)).numPartitions(topic).get());
            try {
                admin.createTopics(Collections.singleton(wanted)).all().get();
            } catch (ExecutionException refused) {
                told.put("again", quoted(refused.getCause().getClass().getSimpleName()));
            }
            admin.createPartitions(Collections.singletonMap(topic, NewPartitions.increaseTo(3))).all().get();
            produce(broker, topic, 30, "none");
            consume(broker, topic, 30, group, "read_committed", new String[0]);
            told.put("topics", topics(admin));
            told.put("starts", offsets(admin, topic, OffsetSpec.earliest()));
            told.put("ends", offsets(admin, topic, OffsetSpec.latest()));
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            told.put("retention", admin.describeConfigs(Collections.singleton(resource)).all().get().get(resource)
                .get("retention.ms").value());
            told.put("brokers", quoted(admin.describeCluster().controller().get().host()));
            told.put("groups", groups(admin));
            told.put("state", quoted(admin.describeConsumerGroups(Collections.singleton(group)).all().get().get(group)
                .state().toString()));
            told.put("committed", committed(admin, group));
            Map<TopicPartition, OffsetAndMetadata> set = new HashMap<>();
            for (int partition = 0; partition < 3; partition++) {
                set.put(new TopicPartition(topic, partition), new OffsetAndMetadata(partition));
            }
            admin.alterConsumerGroupOffsets(group, set).all().get();
            told.put("set", committed(admin, group));
            TopicPartition one = new TopicPartition(topic, 1);
            admin.deleteConsumerGroupOffsets(group, Collections.singleton(one)).all().get();
            told.put("without_one", committed(admin, group));
            TopicPartition zero = new TopicPartition(topic, 0);
            admin.deleteRecords(Collections.singletonMap(zero, RecordsToDelete.beforeOffset(2))).all().get();
            told.put("cut", offsets(admin, topic, OffsetSpec.earliest()));
            admin.deleteConsumerGroups(Collections.singleton(group)).all().get();
            told.put("groups_after", groups(admin));
            admin.deleteTopics(Collections.singleton(topic)).all().get();
            told.put("topics_after", topics(admin));
        }
        List<String> fields = new ArrayList<>();
        told.forEach((name, value) -> fields.add(quoted(name) + ":" + value));
        System.out.println("{" + String.join(",", fields) + "}");
    }

    private static String[] from(String[] words, int at) {
        return java.util.Arrays.copyOfRange(words, Math.min(at, words.length), words.length);
    }

    public static void main(String[] w) throws Exception {
        switch (w[0]) {
            case "produce":
                produce(w[1], w[2], Integer.parseInt(w[3]), w[4]);
                break;
            case "consume":
                consume(w[1], w[2], Integer.parseInt(w[3]), w[4], w[5], from(w, 6));
                break;
            case "member":
                member(w[1], w[2], w[3], from(w, 4));
                break;
            case "transactions":
                transactions(w[1], w[2], Integer.parseInt(w[3]), Integer.parseInt(w[4]));
                break;
            case "copy":
                copy(w[1], w[2], w[3], Integer.parseInt(w[4]), w[5], from(w, 6));
                break;
            case "admin":
                admin(w[1], w[2], w[3]);
                break;
            default:
                throw new IllegalArgumentException(w[0]);
        }
    }
}
