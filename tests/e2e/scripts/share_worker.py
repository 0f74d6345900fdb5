"""A worker of a share group with librdkafka: accepts what it gets and prints `VALUE COUNT` of each, COUNT
records in all.

usage: share_worker.py BOOTSTRAP TOPIC GROUP COUNT
"""
import sys

from confluent_kafka import ShareConsumer

bootstrap, topic, group, count = sys.argv[1:5]
consumer = ShareConsumer({"bootstrap.servers": bootstrap, "group.id": group})
consumer.subscribe([topic])
left = int(count)
while left > 0:
    for message in consumer.poll(1.0):
        if message.error():
            print(message.error(), file=sys.stderr, flush=True)
            continue
        print(message.value().decode(), flush=True)
        left -= 1
consumer.commit_sync()
consumer.close()
