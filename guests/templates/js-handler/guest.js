// Sends back what it receives. The host calls `handle` with the connection, once in the life of an instance.

export const handler = {
  handle(connection) {
    const received = connection.input();
    const sent = connection.output();
    try {
      // The host passes the bytes on. To look at them: received.blockingRead, sent.blockingWriteAndFlush.
      for (;;) sent.blockingSplice(received, 64n * 1024n);
    } catch (error) {
      // The client has ended its direction; anything else is a failure.
      if (error.payload?.tag !== 'closed') throw error;
    }
  },
};
