"""Begins a transaction, writes a record, and leaves both open until its standard input ends.

usage: open_transaction.py BOOTSTRAP TOPIC
"""
import sys

from confluent_kafka import Producer

producer = Producer({"bootstrap.servers": sys.argv[1], "transactional.id": "e2e-holder", "transaction.timeout.ms": 600000})
producer.init_transactions(30)
producer.begin_transaction()
producer.produce(sys.argv[2], b"open")
producer.flush(30)
print("open")
sys.stdin.read()
