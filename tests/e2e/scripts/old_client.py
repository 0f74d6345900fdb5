"""Produces or consumes with pykafka, which speaks only what Kafka spoke before record batches.

usage: old_client.py VERSION BOOTSTRAP TOPIC produce COUNT COMPRESSION
       old_client.py VERSION BOOTSTRAP TOPIC simple|balanced COUNT GROUP

VERSION is the broker's release that pykafka is told of: up to 0.9 it sends messages of magic 0 and asks for no
versions, from 0.10 on magic 1. A consumer goes on where its group has committed, prints each record as
one JSON line, and commits.
"""
import json
import sys
import warnings

# It is of 2018, and uses what Python has deprecated since.
warnings.filterwarnings("ignore")

from pykafka import KafkaClient
from pykafka.common import CompressionType, OffsetType

version, bootstrap, topic, action, count = sys.argv[1:6]
count = int(count)
client = KafkaClient(hosts=bootstrap, broker_version=version)
topic = client.topics[topic.encode()]

if action == "produce":
    compression = getattr(CompressionType, sys.argv[6].upper())
    with topic.get_producer(compression=compression, required_acks=-1, linger_ms=20, delivery_reports=True) as producer:
        for i in range(count):
            producer.produce(f"pykafka-{i}".encode(), partition_key=f"k{i}".encode())
        for _ in range(count):
            message, error = producer.get_delivery_report(timeout=60)
            assert error is None, error
    last = topic.latest_available_offsets()[0].offset[0]
    print(f"produced up to {last}")
    sys.exit()

options = {"auto_offset_reset": OffsetType.EARLIEST, "consumer_timeout_ms": 60000}
group = sys.argv[6].encode()
if action == "simple":
    consumer = topic.get_simple_consumer(consumer_group=group, **options)
else:
    # By the broker's groups and not by ZooKeeper.
    consumer = topic.get_balanced_consumer(group, managed=True, **options)
seen = 0
for message in consumer:
    print(json.dumps({"key": message.partition_key.decode(), "value": message.value.decode(), "offset": message.offset}))
    seen += 1
    if seen == count:
        break
consumer.commit_offsets()
consumer.stop()
if seen < count:
    sys.exit(f"saw {seen} of {count} records")
