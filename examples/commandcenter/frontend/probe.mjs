// The container's health check: exit 0 when /healthz answers 200, else 1 with the reason.
import { get } from 'node:http'

const give_up = (reason) => {
  console.log(reason)
  process.exit(1)
}
get({ host: '127.0.0.1', port: process.env.PORT ?? 3000, path: '/healthz', timeout: 2500 }, (answer) => {
  if (answer.statusCode !== 200) give_up(`/healthz: ${answer.statusCode}`)
  process.exit(0)
})
  .on('timeout', () => give_up('no answer within 2.5 s'))
  .on('error', (error) => give_up(`no answer: ${error.message}`))
