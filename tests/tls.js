// In a page of a server with TLS: takes many answers and a large file, and then says something that is longer than a record
// on a WebSocket. Gives how many answers and how much of the file came, and what came on the WebSocket.
const size = 20_000;
return (async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => fetch('/health', { cache: 'no-store' })));
  const large = await (await fetch('/large', { cache: 'no-store' })).text();
  const heard = await new Promise((resolve, reject) => {
    const types = [];
    const socket = new WebSocket(location.origin.replace('http', 'ws'));
    socket.onerror = () => reject(new Error(`after ${types}`));
    socket.onclose = ({ code }) => resolve([...types, code].join(' '));
    socket.onmessage = ({ data }) => {
      types.push(JSON.parse(data).type);
      if (types.length === 1) socket.send(JSON.stringify({ type: 'ping', text: 'x'.repeat(size) }));
      else socket.close(1000);
    };
  });
  return `${answers.filter(({ ok }) => ok).length} ${large.length} ${heard}`;
})();
