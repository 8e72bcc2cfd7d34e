// What test_http_clients.py asks of every client, by Node's http and by its fetch. The argument is
// the daemon's URL.
import assert from "node:assert";
import http from "node:http";

const url = process.argv[2];
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

// Sends `parts` in chunks unless a length is among the fields.
function ask(method, key, parts = [], headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(`${url}/v1/cache/1/${key}`,
        { method, agent, headers, timeout: 20000 }, (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (text) => { body += text; });
      answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, body }));
    });
    request.on("error", reject);
    request.on("timeout", () => request.destroy(new Error(`${method} ${key}: no answer`)));
    const send = () => { for (const part of parts) request.write(part); request.end(); };
    if (headers.Expect) {
      request.on("continue", send);
      request.flushHeaders();
    } else {
      send();
    }
  });
}

assert.equal((await ask("PUT", "plain", ["hello"], { "Content-Length": 5 })).status, 200);
const got = await ask("GET", "plain");
assert.equal(got.body, "hello");
assert.equal((await ask("GET", "plain", [], { "If-None-Match": got.headers.etag })).status, 304);
const head = await ask("HEAD", "plain");
assert.deepEqual([head.status, head.headers["content-length"], head.body], [200, "5", ""]);
assert.equal((await ask("PUT", "chunked", ["in ", "parts"])).status, 200);
const large = { "Content-Length": 100000, Expect: "100-continue" };
assert.equal((await ask("PUT", "expected", ["x".repeat(100000)], large)).status, 200);
assert.equal((await ask("DELETE", "plain")).status, 200);
assert.equal((await ask("GET", "plain")).status, 404);
agent.destroy();

for (const value of ["one", "two"]) {
  const put = await fetch(`${url}/v1/cache/1/fetched`, { method: "PUT", body: value });
  assert.equal(put.status, 200);
  await put.json();
  assert.equal(await (await fetch(`${url}/v1/cache/1/fetched`)).text(), value);
}
const json = await fetch(`${url}/v1/cache/1/fetched`, { headers: { accept: "application/json" } });
assert.equal((await json.json()).value, "two");
