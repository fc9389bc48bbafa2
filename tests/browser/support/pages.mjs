// The pages that all have to be right, with the traces that they show. `ready` is what has to be there.

export const PAGES = [
  { name: 'search, empty', server: 'made', path: '/' },
];
