"""Produces numbers one after another, idempotently, and prints each that is acknowledged, until its
standard input ends; then waits for all of them. Kills of the broker are to be survived.

usage: steady.py BOOTSTRAP TOPIC
"""
import sys
import threading

from confluent_kafka import Producer

bootstrap, topic = sys.argv[1:3]
producer = Producer({
    "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2, "retry.backoff.ms": 10,
    "message.timeout.ms": 0x7FFFFFFF, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "log_level": 0,
    "queue.buffering.max.messages": 2000,
})
stop = threading.Event()


def acked(error, message):
    if error:
        print("failed", message.value().decode(), error, flush=True)
    else:
        print("acked", message.value().decode(), flush=True)


def wait_for_end():
    sys.stdin.read()
    stop.set()


threading.Thread(target=wait_for_end, daemon=True).start()
n = 0
while not stop.is_set():
    try:
        for _ in range(10):
            producer.produce(topic, str(n).encode(), on_delivery=acked)
            n += 1
    except BufferError:
        pass
    producer.poll(0.002)
left = producer.flush(120)
print("end", n, left, flush=True)
