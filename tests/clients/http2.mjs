// Sends 400 bodies over one connection of HTTP/2, a hundred at a time, and compares what comes back.
import { connect } from 'node:http2';

const [address, token] = process.argv.slice(2);
const session = connect(`https://${address}`, { rejectUnauthorized: false, servername: 'git.example.com' });
let wrong = 0, bytes = 0, answers = 0;

function send(number) {
  return new Promise((resolve, reject) => {
    const body = Buffer.alloc(number * number, String.fromCharCode(97 + (number % 26)));
    const stream = session.request({
      ':method': 'PUT',
      ':path': `/repos/acme/alpha/contents/${number}`,
      ':authority': 'git.example.com',
      authorization: `Bearer ${token}`,
      'content-length': body.length,
      'content-type': 'application/octet-stream',
    });
    let status;
    const pieces = [];
    stream.on('response', (headers) => { status = headers[':status']; });
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => {
      const got = Buffer.concat(pieces);
      if (status !== 200 || !got.equals(body)) wrong += 1;
      bytes += got.length;
      answers += 1;
      resolve();
    });
    stream.on('error', reject);
    stream.end(body);
  });
}

let next = 0;
const lanes = Array.from({ length: 100 }, async () => {
  while (next < 400) await send(next++);
});
await Promise.all(lanes);
session.close();
console.log(`${answers} answers, ${bytes} bytes, ${wrong} wrong`);
