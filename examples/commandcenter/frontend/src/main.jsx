import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import App from './App.jsx'
import { connect } from './api.js'
import './style.css'

const root = createRoot(document.getElementById('root'))
connect().then(
  (api) => root.render(<StrictMode><App api={api} /></StrictMode>),
  (error) => root.render(<p className="fatal" role="alert">The page could not read its configuration: {error.message}</p>),
)
