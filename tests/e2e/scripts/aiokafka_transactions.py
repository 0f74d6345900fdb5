"""Commits one transaction, aborts the next, and so on, with aiokafka: TXNS transactions of PER records each.

usage: aiokafka_transactions.py BOOTSTRAP TOPIC TXNS PER
"""
import asyncio
import sys

from aiokafka import AIOKafkaProducer

bootstrap, topic, txns, per = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


async def main():
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="e2e-aiokafka")
    await producer.start()
    for t in range(txns):
        fate = "commit" if t % 2 == 0 else "abort"
        await producer.begin_transaction()
        for i in range(per):
            await producer.send_and_wait(topic, f"{fate}-{t}-{i}".encode())
        await (producer.commit_transaction() if fate == "commit" else producer.abort_transaction())
    await producer.stop()


asyncio.run(main())
print("done")
