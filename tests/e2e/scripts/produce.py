"""Produces COUNT records with a key, two headers and a value that counts, by the named client; with
several codecs, COUNT with each, numbered on.

usage: produce.py CLIENT BOOTSTRAP TOPIC COUNT CODEC[,CODEC...]
"""
import asyncio
import sys

client, bootstrap, topic, count, codecs = sys.argv[1:6]
count = int(count)


def numbered(numbers):
    return [(f"k{i}".encode(), f"{client}-{i}".encode(), [("origin", client.encode()), ("n", str(i).encode())]) for i in numbers]


def produce(records, compression):
    if client == "confluent":
        from confluent_kafka import Producer

        failed = []
        producer = Producer({"bootstrap.servers": bootstrap, "compression.type": compression, "acks": "all", "linger.ms": 20})
        for key, value, headers in records:
            producer.produce(topic, value, key, headers=headers, on_delivery=lambda e, m: failed.append(e) if e else None)
            producer.poll(0)
        left = producer.flush(60)
        assert not failed and not left, (failed[:3], left)
    elif client == "kafka-python":
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=bootstrap, compression_type=None if compression == "none" else compression, acks="all", linger_ms=20)
        sent = [producer.send(topic, value, key, headers) for key, value, headers in records]
        producer.flush(60)
        for one in sent:
            one.get(60)
    elif client == "aiokafka":
        from aiokafka import AIOKafkaProducer

        async def main():
            producer = AIOKafkaProducer(bootstrap_servers=bootstrap, compression_type=None if compression == "none" else compression, acks="all", linger_ms=20)
            await producer.start()
            try:
                for one in [await producer.send(topic, value, key, headers=headers) for key, value, headers in records]:
                    await one
            finally:
                await producer.stop()

        asyncio.run(main())
    else:
        sys.exit(f"no such client: {client}")


for block, codec in enumerate(codecs.split(",")):
    produce(numbered(range(block * count, (block + 1) * count)), codec)
print(f"produced {count}")
