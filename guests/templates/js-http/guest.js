// Greets over HTTP, as any worker does. Each request meets a fresh instance.

addEventListener('fetch', (event) => event.respondWith(greet(event.request)));

async function greet(request) {
  const { pathname } = new URL(request.url);
  return new Response(`hello from ${pathname}\n`);
}
