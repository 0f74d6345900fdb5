"""Produces each line of its input, "key value timestamp", to a topic.

usage: timed.py BOOTSTRAP TOPIC
"""
import sys

from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "linger.ms": 20})
failed = []
for line in sys.stdin:
    key, value, timestamp = line.split()
    producer.produce(sys.argv[2], value, key, timestamp=int(timestamp), on_delivery=lambda e, m: failed.append(e) if e else None)
left = producer.flush(60)
assert not failed and not left, (failed[:3], left)
