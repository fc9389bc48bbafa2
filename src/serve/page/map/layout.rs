//! A graph in layers from left to right (Sugiyama's method): no cycles, layers, an order with few crossings, places.
//!
//! The same graph always has the same picture.

/// Where everything is.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    /// The middle of each node.
    pub places: Vec<Point>,
    /// For each edge the points that it passes, from the side of its source to that of its target.
    pub routes: Vec<Vec<Point>>,
    pub width: f64,
    pub height: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub x: f64,
    pub y: f64,
}

/// The size of nodes, and the room between them.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub width: f64,
    pub height: f64,
    pub between_layers: f64,
    pub between_nodes: f64,
}

/// How far two edges between the same nodes, there and back, are apart.
const APART: f64 = 5.0;
/// Rounds in which nodes move towards those that they are joined to.
const ROUNDS: usize = 12;

/// Something in a layer: a node, or where a long edge passes.
struct Item {
    layer: usize,
    is_node: bool,
    y: f64,
}

/// Lays out nodes `0..nodes` with edges from one to another.
pub(super) fn layered(nodes: usize, edges: &[(usize, usize)], sizes: Sizes) -> Layout {
    let forward = without_cycles(nodes, edges);
    let layer_of = layers(nodes, &forward);
    let mut items: Vec<Item> =
        layer_of.iter().map(|layer| Item { layer: *layer, is_node: true, y: 0.0 }).collect();
    // Each edge as a chain of items, one a layer.
    let chains: Vec<Vec<usize>> = forward
        .iter()
        .map(|(from, to)| {
            let mut chain = vec![*from];
            for layer in layer_of[*from] + 1..layer_of[*to] {
                chain.push(items.len());
                items.push(Item { layer, is_node: false, y: 0.0 });
            }
            chain.push(*to);
            chain
        })
        .collect();
    let mut columns = vec![Vec::new(); layer_of.iter().max().map_or(0, |last| last + 1)];
    for (at, item) in items.iter().enumerate() {
        columns[item.layer].push(at);
    }
    let (mut before, mut after) = (vec![Vec::new(); items.len()], vec![Vec::new(); items.len()]);
    for pair in chains.iter().flat_map(|chain| chain.windows(2)) {
        after[pair[0]].push(pair[1]);
        before[pair[1]].push(pair[0]);
    }
    order(&mut columns, &before, &after);
    place(&columns, &mut items, &before, &after, sizes);
    picture(nodes, edges, &forward, &chains, &items, sizes)
}

/// The edges with those turned around that lead back to where they come from.
fn without_cycles(nodes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut leaving = vec![Vec::new(); nodes];
    let mut entering = vec![0; nodes];
    for (at, (from, to)) in edges.iter().enumerate() {
        leaving[*from].push(at);
        entering[*to] += 1;
    }
    let mut forward = edges.to_vec();
    let mut states = vec![State::New; nodes];
    // From those that nobody calls.
    let mut starts: Vec<usize> = (0..nodes).collect();
    starts.sort_by_key(|node| entering[*node] > 0);
    for start in starts {
        let mut path = vec![(start, 0)];
        while let Some((node, next)) = path.pop() {
            if next == 0 {
                if states[node] != State::New {
                    continue;
                }
                states[node] = State::Open;
            }
            let Some(edge) = leaving[node].get(next) else {
                states[node] = State::Done;
                continue;
            };
            path.push((node, next + 1));
            let (from, to) = edges[*edge];
            match states[to] {
                State::Open => forward[*edge] = (to, from),
                State::New => path.push((to, 0)),
                State::Done => {}
            }
        }
    }
    forward
}

/// Each node's layer: one behind the last that leads to it; those to which nothing leads directly before the first that
/// they lead to.
fn layers(nodes: usize, forward: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0_usize; nodes];
    // Without cycles no path is longer than there are nodes.
    for _ in 0..nodes {
        let mut moved = false;
        for (from, to) in forward {
            if layer[*to] <= layer[*from] {
                layer[*to] = layer[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for node in 0..nodes {
        if forward.iter().all(|(_, to)| *to != node) {
            let first = forward.iter().filter(|(from, _)| *from == node).map(|(_, to)| layer[*to]).min();
            layer[node] = first.map_or(0, |first| first.saturating_sub(1));
        }
    }
    layer
}

/// Orders each layer by where the neighbours of its items are, there and back again.
fn order(columns: &mut [Vec<usize>], before: &[Vec<usize>], after: &[Vec<usize>]) {
    let items = before.len();
    let mut position = vec![0.0; items];
    let note = |column: &[usize], position: &mut [f64]| {
        for (at, item) in column.iter().enumerate() {
            position[*item] = (at as f64 + 0.5) / column.len() as f64;
        }
    };
    columns.iter().for_each(|column| note(column, &mut position));
    for round in 0..ROUNDS {
        let rightwards = round % 2 == 0;
        let neighbours = if rightwards { before } else { after };
        let mut each: Vec<usize> = (0..columns.len()).collect();
        if !rightwards {
            each.reverse();
        }
        for layer in each {
            let column = &mut columns[layer];
            column.sort_by(|a, b| {
                let middle = |item: usize| mean(&neighbours[item], &position).unwrap_or(position[item]);
                middle(*a).total_cmp(&middle(*b))
            });
            note(column, &mut position);
        }
    }
}

/// Moves items towards their neighbours, in their order and with room between them.
fn place(
    columns: &[Vec<usize>],
    items: &mut [Item],
    before: &[Vec<usize>],
    after: &[Vec<usize>],
    sizes: Sizes,
) {
    let half = |item: &Item| if item.is_node { (sizes.height + sizes.between_nodes) / 2.0 } else { 8.0 };
    for column in columns {
        let mut y = 0.0;
        for item in column {
            let room = half(&items[*item]);
            items[*item].y = y + room;
            y += 2.0 * room;
        }
        column.iter().for_each(|item| items[*item].y -= y / 2.0);
    }
    for round in 0..ROUNDS {
        let mut each: Vec<usize> = (0..columns.len()).collect();
        if round % 2 == 1 {
            each.reverse();
        }
        for layer in each {
            let ys: Vec<f64> = items.iter().map(|item| item.y).collect();
            let column = &columns[layer];
            let wanted: Vec<f64> = column
                .iter()
                .map(|item| {
                    let both: Vec<usize> = before[*item].iter().chain(&after[*item]).copied().collect();
                    mean(&both, &ys).unwrap_or(ys[*item])
                })
                .collect();
            let gap = |at: usize| half(&items[column[at - 1]]) + half(&items[column[at]]);
            // Pushed down, and pushed up: both keep the room, and so does what is between.
            let (mut down, mut up) = (wanted.clone(), wanted);
            for at in 1..column.len() {
                down[at] = down[at].max(down[at - 1] + gap(at));
            }
            for at in (1..column.len()).rev() {
                up[at - 1] = up[at - 1].min(up[at] - gap(at));
            }
            let placed: Vec<f64> = down.iter().zip(&up).map(|(down, up)| (down + up) / 2.0).collect();
            for (item, y) in column.iter().zip(placed) {
                items[*item].y = y;
            }
        }
    }
}

fn mean(of: &[usize], values: &[f64]) -> Option<f64> {
    (!of.is_empty()).then(|| of.iter().map(|at| values[*at]).sum::<f64>() / of.len() as f64)
}

fn picture(
    nodes: usize,
    edges: &[(usize, usize)],
    forward: &[(usize, usize)],
    chains: &[Vec<usize>],
    items: &[Item],
    sizes: Sizes,
) -> Layout {
    let edge = sizes.height / 2.0 + 2.0;
    let top = items.iter().map(|item| item.y).fold(0.0, f64::min) - edge;
    let bottom = items.iter().map(|item| item.y).fold(0.0, f64::max) + edge;
    let layers = items.iter().map(|item| item.layer + 1).max().unwrap_or(0) as f64;
    let middle = |item: &Item| Point {
        x: 2.0 + sizes.width / 2.0 + item.layer as f64 * (sizes.width + sizes.between_layers),
        y: item.y - top,
    };
    let routes = edges.iter().zip(forward).zip(chains).map(|((edge, forward), chain)| {
        let is_back = edge != forward;
        let aside = if edges.contains(&(edge.1, edge.0)) { APART } else { 0.0 };
        let aside = if is_back { aside } else { -aside };
        let mut route = Vec::new();
        for (at, item) in chain.iter().enumerate() {
            let Point { x, y } = middle(&items[*item]);
            let y = y + aside;
            // A node is left at its right side and entered at its left; a long edge runs straight through a layer.
            if at > 0 {
                route.push(Point { x: x - sizes.width / 2.0, y });
            }
            if at + 1 < chain.len() {
                route.push(Point { x: x + sizes.width / 2.0, y });
            }
        }
        if is_back {
            route.reverse();
        }
        route
    });
    Layout {
        routes: routes.collect(),
        places: items.iter().take(nodes).map(middle).collect(),
        width: 4.0 + layers * sizes.width + (layers - 1.0).max(0.0) * sizes.between_layers,
        height: bottom - top,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { width: 100.0, height: 40.0, between_layers: 50.0, between_nodes: 10.0 };

    #[test]
    fn calls_go_from_left_to_right() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)];
        let layout = layered(4, &edges, SIZES);
        for ((from, to), route) in edges.iter().zip(&layout.routes) {
            assert!(layout.places[*from].x < layout.places[*to].x, "{from} {to}");
            let (first, last) = (route.first().expect("a point"), route.last().expect("a point"));
            assert!(first.x < last.x);
            assert_eq!(*first, Point { x: layout.places[*from].x + 50.0, ..layout.places[*from] });
        }
        // The long call passes the layer between.
        assert_eq!(layout.routes[4].len(), 4);
    }

    #[test]
    fn a_cycle_has_one_call_that_leads_back() {
        let edges = [(0, 1), (1, 2), (2, 0), (1, 0)];
        let layout = layered(3, &edges, SIZES);
        let leads_back =
            |route: &Vec<Point>| route.first().map(|first| first.x) > route.last().map(|last| last.x);
        assert_eq!(layout.routes.iter().map(leads_back).collect::<Vec<_>>(), [false, false, true, true]);
        // There and back are two lines.
        assert_ne!(layout.routes[0].first().map(|first| first.y), layout.routes[3].last().map(|last| last.y));
    }

    #[test]
    fn no_two_nodes_overlap_and_all_are_inside() {
        let nodes = 60;
        let edges: Vec<(usize, usize)> = (1..nodes)
            .flat_map(|node| [(node / 3, node), (node, (node * 7) % nodes)])
            .filter(|(from, to)| from != to)
            .collect();
        let layout = layered(nodes, &edges, SIZES);
        for (at, a) in layout.places.iter().enumerate() {
            assert!(a.x >= 50.0 && a.x <= layout.width - 50.0 && a.y >= 20.0 && a.y <= layout.height - 20.0);
            for b in &layout.places[at + 1..] {
                assert!((a.x - b.x).abs() >= 149.0 || (a.y - b.y).abs() >= 49.0, "{a:?} {b:?}");
            }
        }
        assert_eq!(layout, layered(nodes, &edges, SIZES));
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert_eq!(layered(0, &[], SIZES).places, []);
    }
}
