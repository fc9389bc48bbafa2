// The pages that all have to be right, whose traces they show, and their status where it is not 200.

import { BIG_TRACE, FAILED_TRACE, HOSTILE_TRACE } from './made.mjs';
import { SERVERS } from './page.mjs';

const search = (text) => `/?${new URLSearchParams({ q: text })}`;
// The pages that count have a period: that of a recording is long ago.
const period = (server) => {
  const { since, until } = SERVERS[server] ?? {};
  return since ? new URLSearchParams({ since: new Date(since).toISOString(), until: new Date(until).toISOString() }) : '';
};

export const PAGES = [
  { name: 'search empty', server: 'made', path: '/' },
  { name: 'search words', server: 'made', path: search('payment declined') },
  { name: 'search words and filters', server: 'made', path: search('payment declined service:payment status:error >5ms') },
  { name: 'search nothing found', server: 'made', path: search('service:nobody') },
  { name: 'search not understood', server: 'made', path: search('status:broken') },
  { name: 'search hostile', server: 'made', path: search('<script>window.harmed=1</script> "><img src=x onerror=window.harmed=1>') },
  { name: 'search hostile spans', server: 'made', path: search(`trace:${HOSTILE_TRACE} >0ms`) },
  { name: 'search trainticket', server: 'trainticket', path: search('order a ticket status:error') },
  { name: 'search datasette', server: 'datasette', path: search('invalid sql') },
  { name: 'trace waterfall', server: 'made', path: `/traces/${FAILED_TRACE}` },
  { name: 'trace flame', server: 'made', path: `/traces/${FAILED_TRACE}?view=flame` },
  { name: 'trace table', server: 'made', path: `/traces/${FAILED_TRACE}?view=table` },
  { name: 'trace big', server: 'made', path: `/traces/${BIG_TRACE}` },
  { name: 'trace hostile', server: 'made', path: `/traces/${HOSTILE_TRACE}` },
  { name: 'trace hostile table', server: 'made', path: `/traces/${HOSTILE_TRACE}?view=table` },
  { name: 'trace unknown', server: 'made', path: `/traces/${'0'.repeat(31)}1`, status: 404 },
  { name: 'trace trainticket', server: 'trainticket', path: `/traces/${SERVERS.trainticket?.largest}` },
  { name: 'trace datasette', server: 'datasette', path: `/traces/${SERVERS.datasette?.failed}` },
  { name: 'similar', server: 'made', path: `/traces/${FAILED_TRACE}/similar` },
  { name: 'new', server: 'made', path: '/new' },
  { name: 'operations', server: 'made', path: '/operations' },
  { name: 'operations of a service', server: 'made', path: '/operations?service=payment' },
  { name: 'operations trainticket', server: 'trainticket', path: `/operations?${period('trainticket')}` },
  { name: 'map', server: 'made', path: '/map' },
  { name: 'map trainticket', server: 'trainticket', path: `/map?${period('trainticket')}` },
  { name: 'health', server: 'made', path: '/health' },
  { name: 'nowhere', server: 'made', path: '/no-such-page', status: 404 },
];
