"""Calls of every kind through a proxy. Says `half` while two streams are open, and goes on when it is told so."""

import os
import queue
import sys

import grpc

where, certificate = sys.argv[1:]
options = [("grpc.max_receive_message_length", 32 << 20), ("grpc.max_send_message_length", 32 << 20),
           ("grpc.default_authority", "app.test")]
if where.endswith(":443"):
    credentials = grpc.ssl_channel_credentials(open(certificate, "rb").read())
    options.append(("grpc.ssl_target_name_override", "app.test"))
    channel = grpc.secure_channel(where, credentials, options)
else:
    channel = grpc.insecure_channel(where, options)

LIMIT = 30
unary = channel.unary_unary("/lab.Echo/Unary")
chat = channel.stream_stream("/lab.Echo/Chat")
gather = channel.stream_unary("/lab.Echo/Gather")
count = channel.unary_stream("/lab.Echo/Count")
refuse = channel.unary_unary("/lab.Echo/Refuse")
sleep = channel.unary_unary("/lab.Echo/Sleep")


def fails(call, *words, **more):
    try:
        call(*words, **more)
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def calls():
    for number in range(100):
        answer, call = unary.with_call(b"%d" % number, timeout=LIMIT, metadata=(("x-asked", str(number)),))
        assert answer == b"%d" % number
        assert dict(call.initial_metadata())["x-first"] == str(number)
        last = dict(call.trailing_metadata())
        assert last["x-last"] == str(number) and last["x-octets-bin"] == b"\x00\xff", last
    assert unary(b"", timeout=LIMIT) == b""
    large = bytes(range(256)) * (16 << 12)
    assert unary(large, timeout=LIMIT) == large
    together = [unary.future(b"%d" % number, timeout=LIMIT) for number in range(300)]
    assert [call.result() for call in together] == [b"%d" % number for number in range(300)]
    print(f"unary: 100 in a row with metadata and trailers, one of {len(large)} octets, 300 at once", flush=True)

    assert gather((b"x" * 65536 for _ in range(128)), timeout=LIMIT) == b"%d" % (128 * 65536)
    assert [int(number) for number in count(b"5000", timeout=LIMIT)] == list(range(5000))
    print("streams: 8 MiB up, 5,000 messages down", flush=True)

    error = fails(refuse, b"", timeout=LIMIT)
    assert error.code() == grpc.StatusCode.NOT_FOUND and error.details() == "no such thing: 100 % näh", error
    error = fails(sleep, b"5", timeout=0.3)
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    # The server knows of the deadline; the client rounds it up.
    left = float(sleep(b"0", timeout=LIMIT))
    assert 20 < left <= LIMIT + 1, left
    error = fails(channel.unary_unary("/lab.Echo/Nothing"), b"", timeout=LIMIT)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    print("ends: NOT_FOUND with its words, DEADLINE_EXCEEDED, UNIMPLEMENTED; the deadline is passed on", flush=True)


class Talk:
    """A stream both ways: each message is answered before the next is sent."""

    def __init__(self):
        self.queue = queue.Queue()
        self.answers = chat(iter(self.queue.get, None))

    def say(self, rounds):
        for number in range(rounds):
            message = b"%d " % number * (1 + number % 7 * 3000)
            self.queue.put(message)
            assert next(self.answers) == message

    def end(self):
        self.queue.put(None)
        assert list(self.answers) == []
        assert self.answers.code() == grpc.StatusCode.OK


calls()
talks = [Talk(), Talk()]
for talk in talks:
    talk.say(200)
stopped = chat(iter(queue.Queue().get, None))
stopped.cancel()
print("half", flush=True)
sys.stdin.readline()
for talk in talks:
    talk.say(200)
    talk.end()
calls()
print("two streams both ways were open across the reload, 400 messages each", flush=True)
os._exit(0)  # a thread still waits in the stream that was cancelled
