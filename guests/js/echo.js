// Echo in JavaScript, in the typed world: the host calls `handle` with the connection. What streams know is told in
// wit/deps/wasi-io-0.2.12.wit.

export const handler = {
  handle(connection) {
    const received = connection.input();
    const sent = connection.output();
    try {
      // The host passes the bytes on: they need not come into the guest.
      for (;;) sent.blockingSplice(received, 64n * 1024n);
    } catch (error) {
      // The client has ended its direction; anything else is a failure.
      if (error.payload?.tag !== 'closed') throw error;
    }
  },
};
