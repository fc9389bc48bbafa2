//! `config`: the settings in force.

use std::io::Write;

use opentelemetry_pgvector::settings::{EffectiveSetting, LoadedSettings};
use serde_json::json;

use crate::args::{ConfigOptions, layer};
use crate::failure::{Failure, Outcome};
use crate::suggest;
use crate::terminal::{Paint, cut, fit_between, one_line, pad, stdout, write_json};

/// The columns of a setting's name.
const NAME: usize = 30;

pub fn config(loaded: &LoadedSettings, options: &ConfigOptions) -> Outcome {
    let all = loaded.layers();
    if let Some(unknown) = options.keys.iter().find(|key| all.iter().all(|setting| setting.key != *key)) {
        let known: Vec<String> = all.iter().map(|setting| setting.key.to_owned()).collect();
        return Err(Failure::NotFound(suggest::unknown("setting", unknown, &known, "config")));
    }
    let wanted = |setting: &&EffectiveSetting| {
        options.keys.is_empty() || options.keys.iter().any(|key| key == setting.key)
    };
    let paint = Paint::stdout();
    let mut out = stdout();
    for setting in all.iter().filter(wanted) {
        if options.json {
            let object = json!({
                "key": setting.key,
                "value": setting.value,
                "layer": layer(&setting.layer),
                "description": setting.description,
                "allowed": setting.allowed,
            });
            write_json(&mut out, &object.to_string())?;
            continue;
        }
        let origin = paint.dim(&format!("  ({})", one_line(layer(&setting.layer))));
        // What somebody chose stands out from what is as ever.
        let name = pad(setting.key, NAME);
        let name = if setting.layer == "defaults" { name } else { paint.bold(&name) };
        writeln!(out, "{}", cut(&fit_between(&format!("{name} "), &one_line(&setting.value), &origin)))?;
        if options.verbose {
            let text = one_line(setting.description);
            writeln!(out, "    {}", paint.dim(&format!("{text} It must be {}.", setting.allowed)))?;
        }
    }
    Ok(out.flush()?)
}
