"""consumer.py GROUP TOPIC [orderly]: prints "consumed QUEUE OFFSET TEXT" per message that it is done with, until killed."""

import os
import sys
import threading

from clients import Clients

output = threading.Lock()


def accept(message):
    with output:
        os.write(1, f"consumed {message.queue_id} {message.queue_offset} {message.body.decode()}\n".encode())


Clients().consume(sys.argv[1], sys.argv[2], accept, orderly=sys.argv[3] == "orderly")
threading.Event().wait()
