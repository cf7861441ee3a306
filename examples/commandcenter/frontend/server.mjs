// Serves dist/ and, at /config.json, where the API is. No dependencies; stops at once on SIGTERM.
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createServer } from 'node:http'
import { extname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'

const PORT = Number(process.env.PORT ?? 3000)
const API_URL = (process.env.API_URL ?? 'http://localhost:8000').replace(/\/+$/, '')
const DIST = fileURLToPath(new URL('dist', import.meta.url))
const TYPES = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.map': 'application/json',
  '.svg': 'image/svg+xml',
  '.woff2': 'font/woff2',
}
const HEADERS = {
  'content-security-policy': `default-src 'self'; connect-src 'self' ${new URL(API_URL).origin}; frame-ancestors 'none'; base-uri 'none'`,
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

function send(response, status, type, body) {
  response.writeHead(status, { ...HEADERS, 'content-type': type, 'cache-control': 'no-store' }).end(body)
}

async function isFile(path) {
  return (await stat(path).catch(() => null))?.isFile() ?? false
}

async function serveFile(response, pathname) {
  const asked = join(DIST, normalize(pathname)) // pathname starts with "/", so no ".." leaves DIST
  const path = (await isFile(asked)) ? asked : extname(pathname) ? null : join(DIST, 'index.html')
  if (!path) return send(response, 404, 'text/plain', 'not found\n')
  response.writeHead(200, {
    ...HEADERS,
    'content-type': TYPES[extname(path)] ?? 'application/octet-stream',
    // Files under /assets have a hash in their names; the page itself is asked for anew.
    'cache-control': pathname.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
  })
  createReadStream(path)
    .on('error', () => response.destroy())
    .pipe(response)
}

function pathOf(request) {
  try {
    return decodeURIComponent(new URL(request.url, 'http://server').pathname)
  } catch {
    return null
  }
}

async function handle(request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, 405, 'text/plain', 'GET or HEAD only\n')
  const pathname = pathOf(request)
  if (pathname === null || pathname.includes('\0')) return send(response, 400, 'text/plain', 'not a path\n')
  if (pathname === '/healthz') return send(response, 200, 'text/plain', 'ok\n')
  if (pathname === '/config.json') return send(response, 200, 'application/json', JSON.stringify({ apiUrl: API_URL }))
  return serveFile(response, pathname)
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error)
    response.destroy()
  })
})
server.listen(PORT, '0.0.0.0', () => console.log(`frontend listens on ${PORT}, API at ${API_URL}`))

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, () => {
    server.close(() => process.exit(0))
    server.closeAllConnections()
  })
}
