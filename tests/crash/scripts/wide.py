"""Produces to every partition of a topic the numbers 0, 1, 2, ..., idempotently, and prints what is
acknowledged, until its standard input ends; then waits for all of it. Kills of the broker are to be survived.

usage: wide.py BOOTSTRAP TOPIC PARTITIONS
"""
import sys
import threading

from confluent_kafka import Producer

bootstrap, topic, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
producer = Producer({
    "bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 2, "retry.backoff.ms": 10,
    "message.timeout.ms": 0x7FFFFFFF, "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 200, "log_level": 0,
    "queue.buffering.max.messages": 1000,
})
stop = threading.Event()


def acked(error, message):
    if error:
        print("failed", message.partition(), message.value().decode(), error, flush=True)
    else:
        print("acked", message.partition(), message.value().decode(), flush=True)


def wait_for_end():
    sys.stdin.read()
    stop.set()


threading.Thread(target=wait_for_end, daemon=True).start()
n = 0
while n == 0 or not stop.is_set():
    for partition in range(partitions):
        while True:
            try:
                producer.produce(topic, str(n), partition=partition, on_delivery=acked)
                break
            except BufferError:
                if stop.is_set():
                    break
                producer.poll(0.01)
    n += 1
    producer.poll(0.02)
left = producer.flush(120)
print("end", n, left, flush=True)
sys.exit(1 if left else 0)
