"""A member of a consumer group that says what it is assigned and what it reads, until it is killed.

usage: member.py BOOTSTRAP TOPIC GROUP
"""
import sys

from confluent_kafka import Consumer

bootstrap, topic, group = sys.argv[1:4]
consumer = Consumer({
    "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
    "session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "enable.auto.commit": False,
})


def assigned(_, partitions):
    print("assigned", sorted(p.partition for p in partitions), flush=True)


consumer.subscribe([topic], on_assign=assigned)
while True:
    m = consumer.poll(0.2)
    if m is not None and not m.error():
        print("read", m.partition(), m.offset(), flush=True)
        consumer.commit(m, asynchronous=False)
