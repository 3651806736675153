// Preloaded into the proxy: an answer that breaks off behind it breaks off in front of it too.
// Left alone, http-proxy-3 keeps the client waiting for the rest for ever.
import httpProxy from "http-proxy-3";

const create = httpProxy.createProxyServer;

httpProxy.createProxyServer = (options) => {
  const server = create(options);
  server.on("proxyRes", (answer, _request, client) => {
    answer.on("close", () => answer.complete || client.destroy());
  });
  return server;
};
