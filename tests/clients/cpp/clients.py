"""Apache's C++ client (the native library inside the package rocketmq), as the tests want it."""

import ctypes
import os
import subprocess
import sys
import threading
import time
import uuid
from collections import namedtuple

from rocketmq.client import Message, Producer, PullConsumer, PushConsumer, RecvMessage
from rocketmq.ffi import MessageModel, _CMessageQueue, _CPullStatus, dll

NAMESRV = os.environ.get("NAMESRV", "127.0.0.1:9876")
# A topic comes into being by its first message, and the client asks for this many queues.
QUEUE_COUNT = 4
# The text of that first message.
CREATED = "created"
# For anything that clients bring about by their own timers: the locks of a killed consumer end after 60 s.
PATIENCE_SECONDS = 200

Received = namedtuple("Received", "queue offset text")


def name(kind):
    """Never used twice: the store under test has a history."""
    return f"{kind}_{uuid.uuid4().hex}"


def wait_for(promise, holds):
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"not within {PATIENCE_SECONDS} s: {promise}")
        time.sleep(0.02)


def numbered(prefix, count):
    """Sorted as text they are sorted as numbers."""
    return [f"{prefix}-{i:05}" for i in range(count)]


def message(topic, text, tag=None, delay_level=None):
    made = Message(topic)
    made.set_body(text)
    if tag:
        made.set_tags(tag)
    if delay_level:
        made.set_delay_time_level(delay_level)
    return made


def to_queue(queue):
    """For send_orderly: the queues come sorted."""
    return {"arg": queue, "queue_selector": lambda size, message, arg: queue % size}


class Inbox:
    """Keeps what a listener saw."""

    def __init__(self):
        self._lock = threading.Lock()
        self._all = []

    def accept(self, message):
        self.add(Received(message.queue_id, message.queue_offset, message.body.decode()))

    def add(self, received):
        with self._lock:
            self._all.append(received)

    def messages(self):
        with self._lock:
            return [one for one in self._all if one.text != CREATED]

    def texts(self, prefix=""):
        """Sorted, with repetitions, so that lists compare as "exactly once"."""
        return sorted(one.text for one in self.messages() if one.text.startswith(prefix))


class Clients:
    """The clients of one test, all shut down after it, newest first."""

    def __init__(self):
        self._open = []
        self._producer = None
        self._reader = None

    def close(self):
        while self._open:
            self._open.pop()()

    def producer(self):
        if not self._producer:
            self._producer = self.new_producer()
        return self._producer

    def new_producer(self, timeout_ms=15000):
        producer = Producer(name("producer"), timeout=timeout_ms, max_message_size=4 << 20)
        producer.set_namesrv_addr(NAMESRV)
        dll.SetProducerInstanceName(producer._handle, name("instance").encode())
        producer.start()
        self._open.append(producer.shutdown)
        return producer

    def topic(self):
        topic = name("topic")
        self.producer().send_sync(message(topic, CREATED))
        wait_for(f"{QUEUE_COUNT} queues", lambda: len(self.queues(topic)) == QUEUE_COUNT)
        return topic

    def send(self, topic, texts):
        for text in texts:
            self.producer().send_sync(message(topic, text))

    def send_round(self, topic, prefix):
        """One message to each queue."""
        texts = numbered(prefix, QUEUE_COUNT)
        for queue, text in enumerate(texts):
            self.producer().send_orderly(message(topic, text), **to_queue(queue))
        return texts

    def consume(self, group, topic, listener, orderly=False, broadcast=False, instance=None, expression="*"):
        """A started push consumer. The listener says whether a message is done by returning anything but False."""
        model = MessageModel.BROADCASTING if broadcast else MessageModel.CLUSTERING
        consumer = PushConsumer(group, orderly=orderly, message_model=model)
        consumer.set_namesrv_addr(NAMESRV)
        consumer.set_instance_name(instance or name("instance"))
        # Not the package's subscribe(): what it makes of a failing listener is a success.
        dll.Subscribe(consumer._handle, topic.encode(), expression.encode())
        consumer._register_callback(lambda _, handle: 1 if listener(RecvMessage(handle)) is False else 0)
        consumer.start()
        stop = Once(consumer.shutdown)
        self._open.append(stop)
        consumer.stop = stop
        return consumer

    def child(self, group, topic, order=""):
        child = Child(group, topic, order)
        self._open.append(child.kill)
        return child

    def reader(self):
        """Pulls from any queue."""
        if not self._reader:
            self._reader = PullConsumer(name("reader"))
            self._reader.set_namesrv_addr(NAMESRV)
            self._reader.start()
            self._open.append(self._reader.shutdown)
        return self._reader

    def queues(self, topic):
        found, size = ctypes.POINTER(_CMessageQueue)(), ctypes.c_int()
        reader = self.reader()
        if dll.FetchSubscriptionMessageQueues(reader._handle, topic.encode(), ctypes.pointer(found), ctypes.pointer(size)) != 0:
            return []
        queues = [_CMessageQueue(found[i].topic, found[i].brokerName, found[i].queueId) for i in range(size.value)]
        dll.ReleaseSubscriptionMessageQueue(found)
        return sorted(queues, key=lambda queue: queue.queueId)

    def read_queue(self, queue, count):
        """Waits until the queue has so many messages, reads it whole and checks that its offsets have no gap."""
        read = []

        def whole():
            result = dll.Pull(self.reader()._handle, ctypes.pointer(queue), b"*", len(read), 32)
            try:
                if result.pullStatus == _CPullStatus.FOUND:
                    for i in range(result.size):
                        one = RecvMessage(result.msgFoundList[i])
                        assert one.queue_offset == len(read), f"offset {one.queue_offset} where {len(read)} is due"
                        read.append(Received(one.queue_id, one.queue_offset, one.body.decode()))
                return len(read) >= count and len(read) == result.maxOffset
            finally:
                dll.ReleasePullResult(result)

        wait_for(f"{count} messages in queue {queue.queueId}", whole)
        return read

    def read_topic(self, topic, count):
        """A list per queue, without the message that made the topic."""

        def read():
            # Every queue is read from its beginning: a pull at the end of one would wait for a message.
            return [[] if size == 0 else self.read_queue(queue, size) for queue, size in sizes()]

        def sizes():
            return [(queue, self.max_offset(queue)) for queue in self.queues(topic)]

        wait_for(f"{count} messages in {topic}", lambda: sum(size for _, size in sizes()) >= count + 1)
        return [[one for one in of_queue if one.text != CREATED] for of_queue in read()]

    def max_offset(self, queue):
        """An answer to a pull has it; one from behind the end is answered at once."""
        result = dll.Pull(self.reader()._handle, ctypes.pointer(queue), b"*", 1 << 40, 1)
        try:
            return result.maxOffset
        finally:
            dll.ReleasePullResult(result)

    def wait_for_shares(self, topic, first, second, of_first):
        """Sends rounds of one message per queue until each message of three rounds in a row was delivered exactly once,
        so many of them to the first consumer: the group's members have settled who reads which queue."""
        settled = 0

        def settles():
            nonlocal settled
            prefix = name("round")
            texts = self.send_round(topic, prefix)
            wait_for("a round delivered", lambda: set(first.texts(prefix)) | set(second.texts(prefix)) == set(texts))
            shares = len(first.texts(prefix)), len(second.texts(prefix))
            settled = settled + 1 if shares == (of_first, QUEUE_COUNT - of_first) else 0
            return settled == 3

        wait_for(f"{of_first} of {QUEUE_COUNT} queues to the first consumer", settles)


class Once:
    def __init__(self, call):
        self._call = call

    def __call__(self):
        call, self._call = self._call, None
        if call:
            call()


class Child(Inbox):
    """A consumer in a process of its own, and what it said that it had consumed."""

    def __init__(self, group, topic, order):
        super().__init__()
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "consumer.py")
        self._process = subprocess.Popen([sys.executable, program, group, topic, order], stdout=subprocess.PIPE, text=True)
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self):
        for line in self._process.stdout:
            words = line.split(" ", 3)
            # The library says things of its own.
            if len(words) == 4 and words[0] == "consumed" and line.endswith("\n"):
                self.add(Received(int(words[1]), int(words[2]), words[3].rstrip("\n")))

    def kill(self):
        """SIGKILL: no offset is committed, no group left. Everything that it said has been read when this returns."""
        self._process.kill()
        self._process.wait()
        self._listening.join()
        self._process.stdout.close()
