"""A DNS server for tests: every name has the address 127.0.0.1 and no other. `nameserver.py FILE ADDRESS` listens at port 53 there."""

import socket
import struct
import sys

file, address = sys.argv[1:]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((address, 53))
open(file, "w").close()
while True:
    query, client = server.recvfrom(4096)
    end = query.index(b"\0", 12) + 5
    (kind,) = struct.unpack("!H", query[end - 4 : end - 2])
    # Of what may be asked only an IPv4 address has an answer.
    answers = [struct.pack("!HHHIH4B", 0xC00C, 1, 1, 1, 4, 127, 0, 0, 1)] if kind == 1 else []
    head = query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(answers), 0, 0)
    server.sendto(head + query[12:end] + b"".join(answers), client)
