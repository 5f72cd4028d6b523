// Asks for a name and greets. Standard input and output are the connection, and standard error is the log: `console.log` speaks to the
// client, `console.error` to whoever runs the host.

import { getStdin } from 'wasi:cli/stdin@0.2.12';

export const run = {
  run() {
    console.log('what is your name?');
    console.log(`hello, ${readLine(getStdin())}`);
  },
};

function readLine(stream) {
  const decoder = new TextDecoder();
  let text = '';
  try {
    while (!text.includes('\n')) text += decoder.decode(stream.blockingRead(100n), { stream: true });
  } catch (error) {
    // The client has ended its direction; anything else is a failure.
    if (error.payload?.tag !== 'closed') throw error;
  }
  return text.split('\n')[0].trim();
}
