// Echo in JavaScript, in the typed world: the host calls `handle` with the connection. What the streams know is told in
// wit/deps/wasi-io-0.2.12.wit.

export const handler = {
  handle(connection) {
    const received = connection.input();
    const sent = connection.output();
    try {
      for (;;) send(sent, received.blockingRead(64n * 1024n));
    } catch (error) {
      // The client has ended its direction; anything else is a failure.
      if (error.payload?.tag !== 'closed') throw error;
    }
  },
};

/** Writes all of it, as the stream has room. */
function send(stream, data) {
  while (data.length > 0) {
    stream.subscribe().block();
    const room = Number(stream.checkWrite());
    stream.write(data.subarray(0, room));
    data = data.subarray(room);
  }
}
