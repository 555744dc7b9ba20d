# Both ends of gRPC, by its own library. Messages are bytes as they are: no schema, nothing is generated.
#   serve [FOLDER]                 prints its port, ends with its input; with TLS and clients' certificates if there is a
#                                  folder with ca.pem, tls.crt and tls.key
#   call ADDRESS TOKEN [CA]        calls it in every way that gRPC has; ends with 0 if all of it was so

import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc

cancelled = threading.Semaphore(0)


def known(context):
    return {name: value for name, value in context.invocation_metadata() if not name.endswith('-bin')}


def who(_request, context):
    context.send_initial_metadata((('x-early', 'yes'),))
    context.set_trailing_metadata((('x-late', 'yes'), ('x-late-bin', b'\x00\xff')))
    binary = dict(context.invocation_metadata()).get('x-sent-bin')
    left = context.time_remaining()
    return json.dumps({**known(context), 'binary': list(binary or b''), 'left': left}).encode()


def fail(request, context):
    context.set_trailing_metadata((('x-why', 'no reason'),))
    context.abort(grpc.StatusCode.NOT_FOUND, 'no such thing: \N{SNOWMAN}')


def fail_late(request, context):
    yield b'first'
    yield b'second'
    context.abort(grpc.StatusCode.DATA_LOSS, 'in the middle')


def down(request, context):
    for number in range(int(request)):
        yield str(number).encode()


def up(requests, context):
    count = length = 0
    for request in requests:
        count, length = count + 1, length + len(request)
    return f'{count} {length}'.encode()


def both(requests, context):
    for request in requests:
        yield b're: ' + request


def refuse_at_once(requests, context):
    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, 'without a look')


def stall(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(60)
    cancelled.release()
    return b''


def was_cancelled(request, context):
    return b'yes' if cancelled.acquire(timeout=30) else b'no'


def serve(folder=None):
    handlers = {
        'Echo': grpc.unary_unary_rpc_method_handler(lambda request, context: request),
        'Who': grpc.unary_unary_rpc_method_handler(who),
        'Fail': grpc.unary_unary_rpc_method_handler(fail),
        'FailLate': grpc.unary_stream_rpc_method_handler(fail_late),
        'Down': grpc.unary_stream_rpc_method_handler(down),
        'Up': grpc.stream_unary_rpc_method_handler(up),
        'Both': grpc.stream_stream_rpc_method_handler(both),
        'RefuseAtOnce': grpc.stream_unary_rpc_method_handler(refuse_at_once),
        'Stall': grpc.unary_unary_rpc_method_handler(stall),
        'WasCancelled': grpc.unary_unary_rpc_method_handler(was_cancelled),
    }
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32), options=(('grpc.so_reuseport', 0),))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('peer.Peer', handlers),))
    if folder is None:
        port = server.add_insecure_port('127.0.0.1:0')
    else:
        authority, certificate, key = (open(f'{folder}/{name}', 'rb').read() for name in ('ca.pem', 'tls.crt', 'tls.key'))
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
        port = server.add_secure_port('127.0.0.1:0', credentials)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    os._exit(0)


def code_of(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError('it went well')


def call(address, token, authority=None):
    if authority is None:
        channel = grpc.insecure_channel(address)
    else:
        credentials = grpc.ssl_channel_credentials(open(authority, 'rb').read())
        options = (('grpc.ssl_target_name_override', 'localhost'),)
        channel = grpc.secure_channel(address, credentials, options)
    let_in = (('authorization', f'Bearer {token}'), ('x-auth-subject', 'root'), ('x-sent-bin', b'\x01\xfe'))

    def method(kind, name):
        made = getattr(channel, kind)(f'/peer.Peer/{name}')
        return lambda request, **more: made(request, **{'metadata': let_in, 'timeout': 60, **more})

    echo = method('unary_unary', 'Echo')
    assert echo(b'hello') == b'hello'
    assert echo(b'') == b''
    large = os.urandom(3 * 1024 * 1024)
    assert echo(large) == large
    assert echo(large, compression=grpc.Compression.Gzip) == large

    answer, late = channel.unary_unary('/peer.Peer/Who').with_call(b'', metadata=let_in, timeout=60)
    answer = json.loads(answer)
    assert answer['x-auth-subject'] == 'u1' and answer['authorization'] == f'Bearer {token}', answer
    assert answer['binary'] == [1, 254] and 0 < answer['left'] < 61, answer
    assert dict(late.initial_metadata())['x-early'] == 'yes'
    trailing = dict(late.trailing_metadata())
    assert trailing['x-late'] == 'yes' and trailing['x-late-bin'] == b'\x00\xff', trailing

    error = code_of(lambda: method('unary_unary', 'Fail')(b''))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, 'no such thing: \N{SNOWMAN}'), error
    assert dict(error.trailing_metadata())['x-why'] == 'no reason'
    error = code_of(lambda: method('unary_unary', 'Nothing')(b''))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    got = []
    error = code_of(lambda: got.extend(method('unary_stream', 'FailLate')(b'')))
    assert error.code() == grpc.StatusCode.DATA_LOSS, error
    assert got in ([b'first', b'second'], []), got

    assert list(method('unary_stream', 'Down')(b'2000')) == [str(number).encode() for number in range(2000)]
    pieces = [b'x' * 1000] * 2000
    assert method('stream_unary', 'Up')(iter(pieces)) == b'2000 2000000'

    # Each answer is there before the next question is asked.
    answered = threading.Semaphore(1)

    def questions():
        for number in range(100):
            assert answered.acquire(timeout=30)
            yield str(number).encode()

    for number, reply in enumerate(method('stream_stream', 'Both')(questions())):
        assert reply == f're: {number}'.encode(), reply
        answered.release()
    assert number == 99

    # An answer to questions that nobody has read.
    error = code_of(lambda: method('stream_unary', 'RefuseAtOnce')(iter([b'x' * 100_000] * 50)))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error

    error = code_of(lambda: method('unary_unary', 'Stall')(b'', timeout=1))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert method('unary_unary', 'WasCancelled')(b'') == b'yes', 'its end reaches the server'
    stalled = channel.unary_unary('/peer.Peer/Stall').future(b'', metadata=let_in)
    time.sleep(0.2)
    stalled.cancel()
    assert method('unary_unary', 'WasCancelled')(b'') == b'yes', 'its end reaches the server'

    many = [channel.unary_unary('/peer.Peer/Echo').future(str(number).encode(), metadata=let_in) for number in range(500)]
    assert [one.result(60) for one in many] == [str(number).encode() for number in range(500)]

    error = code_of(lambda: echo(b'', metadata=()))
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED, error
    error = code_of(lambda: method('unary_unary', 'Forbidden')(b''))
    assert error.code() == grpc.StatusCode.PERMISSION_DENIED, error
    assert echo(b'still here') == b'still here'


{'serve': serve, 'call': call}[sys.argv[1]](*sys.argv[2:])
