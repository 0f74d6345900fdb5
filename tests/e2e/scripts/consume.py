"""Consumes COUNT records from the beginning and prints each as one JSON line.

usage: consume.py CLIENT BOOTSTRAP TOPIC COUNT [GROUP] [ISOLATION]
"""
import asyncio
import json
import sys
import time
import uuid

client, bootstrap, topic, count = sys.argv[1:5]
count = int(count)
group = sys.argv[5] if len(sys.argv) > 5 else f"consume-{uuid.uuid4()}"
isolation = sys.argv[6] if len(sys.argv) > 6 else "read_committed"
deadline = time.monotonic() + 90
seen = 0


def show(key, value, headers, partition, offset):
    global seen
    seen += 1
    text = lambda b: None if b is None else b.decode()
    print(json.dumps({"key": text(key), "value": text(value), "headers": {k: text(v) for k, v in headers or []}, "partition": partition, "offset": offset}))


if client == "confluent":
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "isolation.level": isolation, "check.crcs": True})
    consumer.subscribe([topic])
    while seen < count and time.monotonic() < deadline:
        m = consumer.poll(1)
        if m is None:
            continue
        if m.error():
            print(m.error(), file=sys.stderr)
            continue
        show(m.key(), m.value(), m.headers(), m.partition(), m.offset())
    consumer.close()
elif client == "kafka-python":
    from kafka import KafkaConsumer

    consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", isolation_level=isolation, consumer_timeout_ms=60000)
    for m in consumer:
        show(m.key, m.value, m.headers, m.partition, m.offset)
        if seen >= count:
            break
    consumer.close()
elif client == "aiokafka":
    from aiokafka import AIOKafkaConsumer

    async def main():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest", isolation_level=isolation)
        await consumer.start()
        try:
            while seen < count:
                m = await asyncio.wait_for(consumer.getone(), 60)
                show(m.key, m.value, m.headers, m.partition, m.offset)
        finally:
            await consumer.stop()

    asyncio.run(main())
else:
    sys.exit(f"no such client: {client}")
if seen < count:
    sys.exit(f"{client} saw {seen} of {count} records")
