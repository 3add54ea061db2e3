"""A gRPC target without generated code: messages are octets. Its health is that of grpc.health.v1."""

import time
from concurrent import futures

import grpc

MOST = [("grpc.max_receive_message_length", 32 << 20), ("grpc.max_send_message_length", 32 << 20)]


def unary(message, context):
    asked = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-first", asked.get("x-asked", "")),))
    context.set_trailing_metadata((("x-last", asked.get("x-asked", "")), ("x-octets-bin", b"\x00\xff")))
    return message


def chat(messages, context):
    yield from messages


def gather(messages, context):
    return str(sum(len(message) for message in messages)).encode()


def count(message, context):
    for number in range(int(message)):
        yield str(number).encode()


def refuse(message, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % näh")


def sleep(message, context):
    time.sleep(float(message))
    return f"{context.time_remaining():.3f}".encode()


def check(message, context):
    return b"\x08\x01"  # HealthCheckResponse { status: SERVING }


server = grpc.server(futures.ThreadPoolExecutor(max_workers=16), options=MOST)
server.add_generic_rpc_handlers((
    grpc.method_handlers_generic_handler("lab.Echo", {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
        "Gather": grpc.stream_unary_rpc_method_handler(gather),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
        "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    }),
    grpc.method_handlers_generic_handler("grpc.health.v1.Health", {
        "Check": grpc.unary_unary_rpc_method_handler(check),
    }),
))
server.add_insecure_port("0.0.0.0:9000")
server.start()
print("serving", flush=True)
server.wait_for_termination()
