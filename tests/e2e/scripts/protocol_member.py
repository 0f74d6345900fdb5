"""A member of a consumer group of either protocol that says what it has and what it reads, until it is
killed or interrupted.

usage: protocol_member.py BOOTSTRAP TOPIC GROUP consumer|classic [INSTANCE]
"""
import signal
import sys

from confluent_kafka import Consumer

# Not SIGINT, which a test that runs in the background ignores, and its children with it.
signal.signal(signal.SIGTERM, signal.default_int_handler)

bootstrap, topic, group, protocol = sys.argv[1:5]
settings = {
    "bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
    "group.protocol": protocol, "enable.auto.commit": False,
}
if protocol == "classic":
    settings |= {
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": 6000, "heartbeat.interval.ms": 500,
    }
if sys.argv[5:]:
    settings["group.instance.id"] = sys.argv[5]
consumer = Consumer(settings)
consumer.subscribe([topic])
had = None
try:
    while True:
        m = consumer.poll(0.2)
        has = sorted(f"{p.topic}/{p.partition}" for p in consumer.assignment())
        if has != had:
            print("has", *has, flush=True)
            had = has
        if m is not None and not m.error():
            print("read", m.topic(), m.partition(), m.offset(), flush=True)
            consumer.commit(m, asynchronous=False)
except KeyboardInterrupt:
    consumer.close()
