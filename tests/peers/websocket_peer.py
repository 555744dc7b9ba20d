# Both ends of a WebSocket, by Python's `websockets`.
#   serve            echoes what it gets, prints its port, ends with its input
#   talk URL TOKEN   goes through everything that a WebSocket can do; ends with 0 if all of it was so

import asyncio
import json
import os
import sys
import threading

import websockets

# The names of what we use have changed over its versions.
MODERN = int(websockets.version.version.split('.')[0]) >= 14


def fields(connection):
    return connection.request.headers if MODERN else connection.request_headers


def path(connection):
    return connection.request.path if MODERN else connection.path


async def echo(connection, _path=None):
    try:
        async for message in connection:
            await answer_to(connection, message)
    except websockets.ConnectionClosed:
        pass


async def answer_to(connection, message):
    if message == 'who':
        names = ('X-Auth-Subject', 'X-Forwarded-For', 'Authorization')
        known = {name: fields(connection).get(name) for name in names}
        await connection.send(json.dumps({'path': path(connection), **known}))
    elif message == 'ping me':
        await asyncio.wait_for(await connection.ping(), 30)
        await connection.send('pong came')
    elif message == 'leave':
        await connection.close(4001, 'as you wish')
    elif message == 'die':
        connection.transport.abort()
    else:
        await connection.send(message)


async def serve():
    async with websockets.serve(echo, '127.0.0.1', 0, subprotocols=['chat.v2'], max_size=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()


def connect(url, token):
    headers = {'Authorization': f'Bearer {token}', 'X-Auth-Subject': 'root'} if token else {}
    name = 'additional_headers' if MODERN else 'extra_headers'
    return websockets.connect(url, subprotocols=['chat.v1', 'chat.v2'], max_size=None, **{name: headers})


async def answer(connection, message):
    await connection.send(message)
    return await asyncio.wait_for(connection.recv(), 30)


async def ended(connection, message):
    await connection.send(message)
    try:
        await asyncio.wait_for(connection.recv(), 30)
    except websockets.ConnectionClosed as closed:
        return closed.rcvd
    raise AssertionError('it goes on')


async def talk(url, token):
    async with connect(f'{url}/chat/a%20b?x=%2F', token) as connection:
        assert connection.subprotocol == 'chat.v2', connection.subprotocol
        known = json.loads(await answer(connection, 'who'))
        assert known['path'] == '/chat/a%20b?x=%2F', known
        assert known['X-Auth-Subject'] == 'u1' and known['Authorization'] == f'Bearer {token}', known
        assert known['X-Forwarded-For'] == '127.0.0.1', known
        assert await answer(connection, 'hello \N{SNOWMAN}') == 'hello \N{SNOWMAN}'
        assert await answer(connection, '') == ''
        large = os.urandom(3 * 1024 * 1024)
        assert await answer(connection, large) == large
        assert await answer(connection, ['in ', 'three ', 'pieces']) == 'in three pieces'
        await asyncio.wait_for(await connection.ping(b'are you there'), 30)
        assert await answer(connection, 'ping me') == 'pong came'
        for number in range(1000):
            await connection.send(str(number))
        for number in range(1000):
            assert await asyncio.wait_for(connection.recv(), 30) == str(number)
        closed = await ended(connection, 'leave')
        assert (closed.code, closed.reason) == (4001, 'as you wish'), closed

    # The server dies in the middle: no close frame comes that it never sent.
    async with connect(f'{url}/chat', token) as connection:
        assert await ended(connection, 'die') is None

    # Many at the same time, each with its own words.
    async def one(number):
        async with connect(f'{url}/chat', token) as connection:
            for turn in range(20):
                assert await answer(connection, f'{number}:{turn}') == f'{number}:{turn}'
    await asyncio.gather(*(one(number) for number in range(50)))

    for refused in (None, token + 'x'):
        try:
            async with connect(f'{url}/chat', refused):
                raise AssertionError('let in')
        except websockets.InvalidHandshake as error:
            status = error.response.status_code if hasattr(error, 'response') else error.status_code
            assert status == 401, status


def end_with_input():
    sys.stdin.read()
    os._exit(0)


if sys.argv[1] == 'serve':
    threading.Thread(target=end_with_input, daemon=True).start()
    asyncio.run(serve())
else:
    asyncio.run(talk(*sys.argv[2:]))
