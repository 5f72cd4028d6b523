// A small web service in JavaScript, written as for any worker: an incoming handler of wasi:http 0.2 is made of the event listener.
// Bodies are passed on as they come and are never held whole.
//
// GET /hello greets, POST /echo gives the body back, POST /sum tells its length.

addEventListener('fetch', (event) => event.respondWith(answer(event.request)));

async function answer(request) {
  switch (`${request.method} ${new URL(request.url).pathname}`) {
    case 'GET /hello':
      return new Response('hello from JavaScript\n');
    case 'POST /echo':
      // Through a transform of nothing: the engine then passes the bytes on by itself.
      return new Response(request.body.pipeThrough(new TransformStream()));
    case 'POST /sum':
      return new Response(`${await length(request.body)}\n`);
    default:
      return new Response('there is GET /hello, POST /echo and POST /sum\n', { status: 404 });
  }
}

async function length(body) {
  let length = 0;
  const reader = body.getReader();
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    length += chunk.value.length;
  }
  return length;
}
