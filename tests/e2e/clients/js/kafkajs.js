// kafkajs, as its users write it. The words are those of ../README.md.
"use strict";
const kafkajs = require("kafkajs");
const { CompressionTypes, CompressionCodecs } = kafkajs;

// kafkajs brings gzip; the others are plugged in, as its documentation tells.
const lz4 = require("lz4js");
const zstd = require("@bokuweb/zstd-wasm");
CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async (encoder) => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(lz4.decompress(buffer)),
});
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async (buffer) => Buffer.from(zstd.decompress(buffer)),
});
const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 };

const [word, broker, ...args] = process.argv.slice(2);
const kafka = new kafkajs.Kafka({ clientId: "e2e", brokers: [broker], logLevel: kafkajs.logLevel.ERROR });
const text = (bytes) => (bytes === null || bytes === undefined ? null : bytes.toString());

function groupOptions(groupId) {
  return { groupId, sessionTimeout: 6000, heartbeatInterval: 300, rebalanceTimeout: 10000, maxWaitTimeInMs: 200 };
}

async function produce(topic, count, codecs) {
  const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner, idempotent: true });
  await producer.connect();
  let n = 0;
  for (const codec of codecs.split(",")) {
    const messages = [];
    for (const end = n + Number(count); n < end; n++) {
      messages.push({ key: `k${n}`, value: `kafkajs-${n}`, headers: { origin: "kafkajs", n: String(n) } });
    }
    await producer.send({ topic, messages, acks: -1, compression: CODECS[codec] });
  }
  await producer.disconnect();
}

async function consume(topic, count, groupId, isolation) {
  const consumer = kafka.consumer({ ...groupOptions(groupId), readUncommitted: isolation === "read_uncommitted" });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  let seen = 0;
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, (event) => failed(event.payload.error));
    consumer.run({
      eachMessage: async ({ partition, message }) => {
        if (seen++ >= Number(count)) return;
        const headers = Object.fromEntries(Object.entries(message.headers).map(([k, v]) => [k, text(v)]));
        const { key, value, offset } = message;
        console.log(JSON.stringify({ key: text(key), value: text(value), headers, partition, offset: Number(offset) }));
        if (seen === Number(count)) done();
      },
    });
  });
  await consumer.disconnect();
}

async function member(topic, groupId) {
  const consumer = kafka.consumer(groupOptions(groupId));
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    console.log("assigned", JSON.stringify((payload.memberAssignment[topic] || []).sort()));
  });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      console.log("read", partition, message.offset);
      await consumer.commitOffsets([{ topic, partition, offset: String(Number(message.offset) + 1) }]);
    },
  });
  for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => consumer.disconnect().then(() => process.exit(0)));
  await new Promise(() => {});
}

async function transactional(transactionalId) {
  const producer = kafka.producer({
    transactionalId, idempotent: true, maxInFlightRequests: 1, createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
  });
  await producer.connect();
  return producer;
}

async function transactions(topic, txns, per) {
  const producer = await transactional("e2e-kafkajs");
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

async function copy(from, to, count, groupId) {
  const producer = await transactional(`copy-${groupId}`);
  const consumer = kafka.consumer(groupOptions(groupId));
  await consumer.connect();
  await consumer.subscribe({ topics: [from], fromBeginning: true });
  let [copied, turn] = [0, 0];
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, (event) => failed(event.payload.error));
    consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch: { partition, messages }, resolveOffset }) => {
        for (let start = 0; start < messages.length; ) {
          const some = messages.slice(start, start + 20);
          const next = String(Number(some.at(-1).offset) + 1);
          const transaction = await producer.transaction();
          const loud = some.map(({ key, value }) => ({ key, value: text(value).toUpperCase() }));
          await transaction.send({ topic: to, messages: loud });
          await transaction.sendOffsets({
            consumerGroupId: groupId, topics: [{ topic: from, partitions: [{ partition, offset: next }] }],
          });
          if (++turn % 3 === 0) {
            await transaction.abort();
            continue;
          }
          await transaction.commit();
          resolveOffset(some.at(-1).offset);
          start += some.length;
          copied += some.length;
        }
        if (copied >= Number(count)) done();
      },
    });
  });
  await consumer.disconnect();
  await producer.disconnect();
}

const byPartition = (partitions) => partitions.sort((a, b) => (a.partitionId ?? a.partition) - (b.partitionId ?? b.partition));

async function admin(topic, groupId) {
  const admin = kafka.admin();
  await admin.connect();
  const told = {};
  const entries = [{ name: "retention.ms", value: "3600000" }];
  told.created = await admin.createTopics({ topics: [{ topic, numPartitions: 2, configEntries: entries }] });
  told.again = await admin.createTopics({ topics: [{ topic }] });
  told.widened = await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] });
  await produce(topic, 30, "none");
  await consume.call(null, topic, 30, groupId, "read_committed");
  told.topics = await admin.listTopics();
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  told.partitions = byPartition(topics[0].partitions).map(({ partitionId, leader, isr }) => [partitionId, leader, isr]);
  told.ends = byPartition(await admin.fetchTopicOffsets(topic)).map(({ low, high }) => [Number(low), Number(high)]);
  const configs = await admin.describeConfigs({ resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic, configNames: ["retention.ms"] }] });
  told.retention = configs.resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]);
  const cluster = await admin.describeCluster();
  told.brokers = cluster.brokers.map(({ host, port }) => `${host}:${port}`);
  told.groups = (await admin.listGroups()).groups;
  const described = await admin.describeGroups([groupId]);
  told.state = described.groups.map(({ errorCode, state, protocolType }) => [errorCode, state, protocolType]);
  const offsets = async () => {
    const [{ partitions }] = await admin.fetchOffsets({ groupId, topics: [topic] });
    return byPartition(partitions).map(({ offset }) => Number(offset));
  };
  told.committed = await offsets();
  await admin.setOffsets({ groupId, topic, partitions: [0, 1, 2].map((partition) => ({ partition, offset: String(partition) })) });
  told.set = await offsets();
  await admin.resetOffsets({ groupId, topic, earliest: true });
  told.reset = await offsets();
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "2" }] });
  told.cut = byPartition(await admin.fetchTopicOffsets(topic)).map(({ low }) => Number(low));
  told.deleted = await admin.deleteGroups([groupId]);
  told.groups_after = (await admin.listGroups()).groups;
  await admin.deleteTopics({ topics: [topic] });
  told.topics_after = await admin.listTopics();
  await admin.disconnect();
  console.log(JSON.stringify(told));
}

const words = { produce, consume, member, transactions, copy, admin };
zstd
  .init()
  .then(() => words[word](...args))
  .then(() => process.exit(0))
  .catch((error) => {
    console.error(error);
    process.exit(1);
  });
