"""Commits one transaction, aborts the next, and so on: TXNS transactions of PER records each.

usage: transactions.py BOOTSTRAP TOPIC TXNS PER
"""
import sys

from confluent_kafka import Producer

bootstrap, topic, txns, per = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": "e2e-transactions", "linger.ms": 5})
producer.init_transactions(30)
for t in range(txns):
    producer.begin_transaction()
    fate = "commit" if t % 2 == 0 else "abort"
    for i in range(per):
        producer.produce(topic, f"{fate}-{t}-{i}".encode(), f"k{i}".encode())
    producer.flush(30)
    producer.commit_transaction(30) if fate == "commit" else producer.abort_transaction(30)
print("done")
