import { useCallback, useEffect, useRef, useState } from 'react'

const HEALTH_EVERY_MS = 3000

export default function App({ api }) {
  return (
    <>
      <header>
        <h1>Command center</h1>
        <p>
          API at <a href={`${api.url}/health`}>{api.url}</a>
        </p>
      </header>
      <main>
        <Health api={api} />
        <Notes api={api} />
      </main>
    </>
  )
}

function Health({ api }) {
  const [health, setHealth] = useState(null)

  useEffect(() => {
    let timer
    let gone = false
    async function look() {
      const begun = performance.now()
      let seen
      try {
        const health = await api.health()
        seen = { backend: { ok: true, latency_ms: performance.now() - begun }, ...health }
      } catch {
        seen = { backend: { ok: false, error: `no answer from ${api.url}` } }
      }
      if (gone) return
      setHealth(seen)
      timer = setTimeout(look, HEALTH_EVERY_MS)
    }
    look()
    return () => {
      gone = true
      clearTimeout(timer)
    }
  }, [api])

  return (
    <section aria-labelledby="health">
      <h2 id="health">Health</h2>
      <ul className="cards" aria-live="polite">
        <Card name="Backend" check={health?.backend} />
        <Card name="PostgreSQL" check={health?.postgres} />
        <Card name="Redis" check={health?.redis} />
      </ul>
    </section>
  )
}

function Card({ name, check }) {
  const state = !check ? 'unknown' : check.ok ? 'up' : 'down'
  const words = { unknown: 'not known', up: 'up', down: 'down' }[state]
  return (
    <li className={`card ${state}`}>
      <span className="name">{name}</span>
      <span className="state">{words}</span>
      <span className="detail">
        {check?.ok && check.latency_ms !== undefined && <span aria-live="off">{check.latency_ms.toFixed(1)} ms</span>}
        {check?.error}
      </span>
    </li>
  )
}

function Notes({ api }) {
  const [notes, setNotes] = useState(null)
  const [hits, setHits] = useState(null)
  const [error, setError] = useState(null)
  const [busy, setBusy] = useState(false)
  const input = useRef(null)

  const load = useCallback(async () => {
    const { notes, hits } = await api.notes()
    setNotes(notes)
    setHits(hits)
  }, [api])

  const attempt = useCallback(async (work) => {
    setBusy(true)
    try {
      await work()
      setError(null)
    } catch (error) {
      setError(error.message)
    } finally {
      setBusy(false)
    }
  }, [])

  useEffect(() => void attempt(load), [attempt, load])

  function add(event) {
    event.preventDefault()
    const form = event.currentTarget
    attempt(async () => {
      await api.add(new FormData(form).get('body'))
      form.reset()
      await load()
    }).then(() => input.current?.focus())
  }

  const remove = (id) =>
    attempt(async () => {
      await api.remove(id)
      await load()
    })

  return (
    <section aria-labelledby="notes">
      <h2 id="notes">Notes</h2>
      <form onSubmit={add}>
        <label htmlFor="body">New note</label>
        <div className="row">
          <input id="body" name="body" ref={input} required maxLength={500} autoComplete="off" placeholder="What is to be done?" />
          <button disabled={busy}>Add</button>
        </div>
      </form>
      {error && (
        <p className="error" role="alert">
          {error} <button onClick={() => attempt(load)}>Try again</button>
        </p>
      )}
      {notes?.length === 0 && <p className="quiet">No notes yet.</p>}
      <ul className="notes">
        {notes?.map((note) => (
          <li key={note.id}>
            <div>
              <p>{note.body}</p>
              <time dateTime={note.created_at}>{new Date(note.created_at).toLocaleString()}</time>
            </div>
            <button className="plain" disabled={busy} onClick={() => remove(note.id)} aria-label={`Delete note: ${note.body}`}>
              Delete
            </button>
          </li>
        ))}
      </ul>
      {hits !== null && <p className="quiet">This list was asked for {hits} {hits === 1 ? 'time' : 'times'}, counted in Redis.</p>}
    </section>
  )
}
