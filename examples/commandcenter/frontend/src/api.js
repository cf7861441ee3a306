// Where the API is, is known at run time only (its port is leased): the server of this page says it in /config.json.
export async function connect() {
  const answer = await fetch('/config.json', { cache: 'no-store' })
  if (!answer.ok) throw new Error(`/config.json: ${answer.status}`)
  const { apiUrl } = await answer.json()

  async function call(path, options) {
    const answer = await fetch(apiUrl + path, { signal: AbortSignal.timeout(5000), ...options })
    const body = answer.status === 204 ? null : await answer.json()
    return { ok: answer.ok, status: answer.status, body }
  }

  async function must(path, options) {
    const { ok, status, body } = await call(path, options)
    if (ok) return body
    throw new Error(typeof body?.detail === 'string' ? body.detail : `${path}: ${status}`)
  }

  return {
    url: apiUrl,
    health: async () => (await call('/health')).body, // a 503 has a body as well: it says what is wrong
    notes: () => must('/api/notes'),
    add: (body) =>
      must('/api/notes', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ body }),
      }),
    remove: (id) => must(`/api/notes/${id}`, { method: 'DELETE' }),
  }
}
