"""Consume, transform, produce, exactly once: copies COUNT records from one topic to another in
transactions that carry the input offsets, aborting and redoing every third one.

usage: copy_records.py BOOTSTRAP FROM TO COUNT GROUP
"""
import sys

from confluent_kafka import Consumer, Producer, TopicPartition

bootstrap, source, target, count, group = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, "isolation.level": "read_committed"})
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"copy-{group}"})
producer.init_transactions(30)
consumer.subscribe([source])
copied, turn = 0, 0
while copied < count:
    batch = [m for m in consumer.consume(50, 2) if not m.error()]
    if not batch:
        continue
    turn += 1
    producer.begin_transaction()
    for m in batch:
        producer.produce(target, m.value().upper(), m.key())
    ends = {}
    for m in batch:
        ends[m.partition()] = max(ends.get(m.partition(), 0), m.offset() + 1)
    producer.send_offsets_to_transaction([TopicPartition(source, p, o) for p, o in ends.items()], consumer.consumer_group_metadata(), 30)
    if turn % 3 == 0:
        producer.abort_transaction(30)
        starts = {}
        for m in batch:
            starts[m.partition()] = min(starts.get(m.partition(), m.offset()), m.offset())
        for p, o in starts.items():
            consumer.seek(TopicPartition(source, p, o))
        continue
    producer.commit_transaction(30)
    copied += len(batch)
consumer.close()
print("copied", copied)
