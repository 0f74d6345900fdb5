// @confluentinc/kafka-javascript, which is librdkafka below. The words are those of ../README.md.
"use strict";
const { Kafka, logLevel, ErrorCodes } = require("@confluentinc/kafka-javascript").KafkaJS;

const [word, broker, ...args] = process.argv.slice(2);
const kafka = new Kafka({ kafkaJS: { clientId: "e2e", brokers: [broker], logLevel: logLevel.ERROR } });
const text = (bytes) => (bytes === null || bytes === undefined ? null : bytes.toString());

async function produce(topic, count, codecs) {
  let n = 0;
  for (const codec of codecs.split(",")) {
    const producer = kafka.producer({ kafkaJS: { acks: -1, idempotent: true }, "compression.codec": codec, "linger.ms": 20 });
    await producer.connect();
    const messages = [];
    for (const end = n + Number(count); n < end; n++) {
      messages.push({ key: `k${n}`, value: `librdkafka-js-${n}`, headers: { origin: "librdkafka-js", n: String(n) } });
    }
    await producer.send({ topic, messages });
    await producer.disconnect();
  }
}

function groupMember(groupId, more) {
  return kafka.consumer({
    kafkaJS: { groupId, fromBeginning: true, autoCommit: false, sessionTimeout: 6000, heartbeatInterval: 300 },
    ...more,
  });
}

async function consume(topic, count, groupId, isolation) {
  const consumer = groupMember(groupId, { "isolation.level": isolation, "enable.auto.commit": true });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  let seen = 0;
  await new Promise((done) => {
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (seen++ >= Number(count)) return;
        const headers = Object.fromEntries(Object.entries(message.headers || {}).map(([k, v]) => [k, text(v)]));
        const { key, value, offset } = message;
        console.log(JSON.stringify({ key: text(key), value: text(value), headers, partition, offset: Number(offset) }));
        if (seen === Number(count)) done();
      },
    });
  });
  await consumer.disconnect();
}

async function member(topic, groupId) {
  const consumer = groupMember(groupId, {
    rebalance_cb: (error, assignment) => {
      const has = error.code === ErrorCodes.ERR__ASSIGN_PARTITIONS ? assignment.map((a) => a.partition) : [];
      console.log("assigned", JSON.stringify(has.sort()));
    },
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic] });
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      console.log("read", partition, message.offset);
      await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }]);
    },
  });
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => consumer.disconnect().then(() => process.exit(0)));
  await new Promise(() => {});
}

async function transactions(topic, txns, per) {
  const producer = kafka.producer({ kafkaJS: { transactionalId: "e2e-librdkafka-js" } });
  await producer.connect();
  for (let t = 0; t < Number(txns); t++) {
    const fate = t % 2 === 0 ? "commit" : "abort";
    const transaction = await producer.transaction();
    for (let i = 0; i < Number(per); i++) {
      await transaction.send({ topic, messages: [{ key: `k${i}`, value: `${fate}-${t}-${i}` }] });
    }
    await transaction[fate]();
  }
  await producer.disconnect();
}

const byPartition = (partitions) => partitions.sort((a, b) => (a.partitionId ?? a.partition) - (b.partitionId ?? b.partition));

async function admin(topic, groupId) {
  const admin = kafka.admin();
  await admin.connect();
  const told = {};
  const entries = [{ name: "retention.ms", value: "3600000" }];
  told.created = await admin.createTopics({ topics: [{ topic, numPartitions: 3, configEntries: entries }] });
  told.again = await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] });
  await produce(topic, 30, "none");
  await consume(topic, 30, groupId, "read_committed");
  told.topics = await admin.listTopics();
  const [described] = await admin.fetchTopicMetadata({ topics: [topic] }).then((m) => m.topics ?? m);
  told.partitions = byPartition(described.partitions).map(({ partitionId, leader, isr }) => [partitionId, leader, isr]);
  told.ends = byPartition(await admin.fetchTopicOffsets(topic)).map(({ low, high }) => [Number(low), Number(high)]);
  told.groups = (await admin.listGroups()).groups.map(({ groupId, protocolType }) => ({ groupId, protocolType }));
  const { groups } = await admin.describeGroups([groupId]);
  told.members = groups.map(({ members, protocolType }) => [members.length, protocolType]);
  const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
  told.committed = byPartition(partitions).map(({ offset }) => Number(offset));
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "2" }] });
  told.cut = byPartition(await admin.fetchTopicOffsets(topic)).map(({ low }) => Number(low));
  await admin.deleteGroups([groupId]);
  told.groups_after = (await admin.listGroups()).groups.map(({ groupId }) => groupId);
  await admin.deleteTopics({ topics: [topic] });
  told.topics_after = await admin.listTopics();
  await admin.disconnect();
  console.log(JSON.stringify(told));
}

const words = { produce, consume, member, transactions, admin };
words[word](...args)
  .then(() => process.exit(0))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
