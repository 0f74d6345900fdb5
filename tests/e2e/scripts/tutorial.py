"""The ten lines that newcomers copy: a producer and a consumer of JSON, by kafka-python.

usage: tutorial.py BOOTSTRAP TOPIC
"""
import json
import sys

from kafka import KafkaConsumer, KafkaProducer

producer = KafkaProducer(bootstrap_servers=sys.argv[1], value_serializer=lambda v: json.dumps(v).encode("utf-8"))
for number in range(10):
    producer.send(sys.argv[2], value={"number": number})
producer.flush()

consumer = KafkaConsumer(
    sys.argv[2],
    bootstrap_servers=[sys.argv[1]],
    auto_offset_reset="earliest",
    enable_auto_commit=True,
    group_id="my-group",
    value_deserializer=lambda v: json.loads(v.decode("utf-8")),
    consumer_timeout_ms=30000,
)
for seen, message in enumerate(consumer, 1):
    print(message.value["number"])
    if seen == 10:
        break
consumer.close()
