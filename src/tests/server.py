"""A server that says, to each connection, how often it was started on its data, in one of several moods."""
import os, signal, socket, sys, time

port, data, mood = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def serve():
    path = os.path.join(data, "starts")
    with open(path, "a") as file:
        file.write("x")
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        try:
            connection.sendall(str(os.path.getsize(path)).encode())
            if connection.recv(100) == b"die":
                print("about to die", flush=True)
                os.kill(os.getpid(), signal.SIGSEGV)
        except OSError:
            pass  # the other side is gone already
        connection.close()

def forever():
    while True:
        signal.pause()

if mood == "exits":
    print("line one\ncannot read the configuration", flush=True)
    sys.exit(3)
elif mood == "silent":
    print("thinking", flush=True)
    forever()
elif mood == "ignores-term":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve()
elif mood == "crashes-at-stop":
    signal.signal(signal.SIGTERM, lambda *_: os.abort())
    serve()
elif mood == "forks":
    # The child serves, the leader only waits; both ignore what stops well-behaved servers.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        serve()
    forever()
elif mood == "forks-and-leaves":
    # The leader serves until told to stop, and then leaves its child behind.
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        forever()
    with open(os.path.join(data, "child"), "w") as file:
        file.write(str(child))
    serve()
else:
    serve()
