# One client's way: produce `count` records to `topic` and read them back in `group`, or say what was refused.
#   secured.py <confluent|kafka-python> <settings as JSON> <topic> <group> <count>
# Prints one line: `read N`, or the name of the refusal.
import json, sys, time

client, settings, topic, group, count = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
deadline = time.time() + 60


def confluent():
    from confluent_kafka import Consumer, KafkaException, Producer
    refused = []
    common = {'bootstrap.servers': settings['bootstrap'], 'security.protocol': settings['protocol']}
    if 'user' in settings:
        common |= {'sasl.mechanisms': settings['mechanism'], 'sasl.username': settings['user'],
                   'sasl.password': settings['password']}
    if 'ca' in settings:
        common['ssl.ca.location'] = settings['ca']
    if 'certificate' in settings:
        common |= {'ssl.certificate.location': settings['certificate'], 'ssl.key.location': settings['key']}
    note = lambda error: refused.append(error.name())
    producer = Producer(common | {'error_cb': note})
    for n in range(count):
        producer.produce(topic, f'{n}'.encode(), callback=lambda e, m: note(e) if e else None)
    while len(producer) and time.time() < deadline:
        producer.poll(0.1)
        if '_AUTHENTICATION' in refused:
            producer.purge()
            return '_AUTHENTICATION'
    if refused:
        return refused[0].strip('_')
    consumer = Consumer(common | {'group.id': group, 'auto.offset.reset': 'earliest'})
    consumer.subscribe([topic])
    read = 0
    while read < count and time.time() < deadline:
        message = consumer.poll(0.5)
        if message is not None and message.error():
            return message.error().name()
        read += message is not None
    consumer.close()
    return f'read {read}'


def kafka_python():
    from kafka import KafkaConsumer, KafkaProducer
    from kafka.errors import KafkaError
    common = {'bootstrap_servers': settings['bootstrap'], 'security_protocol': settings['protocol']}
    if 'user' in settings:
        common |= {'sasl_mechanism': settings['mechanism'], 'sasl_plain_username': settings['user'],
                   'sasl_plain_password': settings['password']}
    if 'ca' in settings:
        common['ssl_cafile'] = settings['ca']
    if 'certificate' in settings:
        common |= {'ssl_certfile': settings['certificate'], 'ssl_keyfile': settings['key']}
    try:
        producer = KafkaProducer(**common)
        for n in range(count):
            producer.send(topic, f'{n}'.encode()).get(30)
        producer.close()
        consumer = KafkaConsumer(topic, group_id=group, auto_offset_reset='earliest', **common)
        read = 0
        while read < count and time.time() < deadline:
            read += sum(len(records) for records in consumer.poll(500).values())
        consumer.close()
        return f'read {read}'
    except KafkaError as error:
        return type(error).__name__


print(confluent() if client == 'confluent' else kafka_python())
