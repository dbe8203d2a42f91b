//! Grafana dashboards from one bilingual source.
//!
//! `dashboards/src/*.toml` says what a panel shows and why; this module turns each file into one classic dashboard
//! JSON per language (schema version 41, loadable from Grafana 10 on). The JSON is committed, and a test fails when
//! it is not what the source makes.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

/// The Grafana schema version every file has.
pub const SCHEMA_VERSION: u32 = 41;

/// A language of the dashboards: folder, uid suffix and tag suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lang {
    /// English.
    En,
    /// Simplified Chinese.
    Zh,
}

impl Lang {
    /// Both.
    pub const ALL: [Lang; 2] = [Lang::En, Lang::Zh];

    /// The folder under `dashboards/`.
    pub fn folder(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh-CN",
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh",
        }
    }
}

/// One text in both languages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Text {
    fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }
}

/// A dashboard's source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dashboard {
    /// Stable; `-en` or `-zh` is appended.
    pub uid: String,
    /// The name in the list.
    pub title: Text,
    /// The question it answers.
    pub description: Text,
    /// `guanjia-en` or `guanjia-zh` is added.
    pub tags: Vec<String>,
    /// How often it asks again.
    pub refresh: String,
    /// Names and colours of state codes.
    #[serde(default)]
    pub mapping: BTreeMap<String, BTreeMap<String, Named>>,
    /// Names and colours of label values, by label.
    #[serde(default)]
    pub names: BTreeMap<String, BTreeMap<String, Named>>,
    /// The panels, in reading order.
    pub panel: Vec<Panel>,
}

/// A name and a colour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Named {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
    /// A Grafana colour.
    pub color: String,
}

/// One panel's source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// What draws it.
    pub kind: Kind,
    /// Unique on the dashboard.
    pub title: Text,
    /// What the reader learns and what to think of it.
    pub description: Text,
    /// x, y, width, height on the 24-column grid.
    pub grid: [u32; 4],
    /// A Grafana unit id; not for panels with a mapping.
    pub unit: Option<String>,
    /// `["colour"]` first, then `[from, "colour"]`.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// The key of a state mapping.
    pub mapping: Option<String>,
    /// Lower end of the axis.
    pub min: Option<f64>,
    /// Upper end of the axis.
    pub max: Option<f64>,
    /// The label whose values name the series; they take their names and colours from [`Dashboard::names`].
    pub names: Option<String>,
    /// Whether "no series" is the good case; the panel says "none" then, and not "No data".
    #[serde(default)]
    pub may_be_empty: bool,
    /// The columns of a table, in order; all others are hidden.
    #[serde(default)]
    pub columns: Vec<Column>,
    /// The queries.
    pub target: Vec<Target>,
}

/// What draws a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// One big number.
    Stat,
    /// Lines over time.
    Timeseries,
    /// Coloured spans over time.
    StateTimeline,
    /// Rows.
    Table,
}

/// The base colour, or a colour from a value on.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Threshold {
    /// The colour below every step.
    Base([String; 1]),
    /// From this value on, this colour.
    Step(f64, String),
}

/// A column of a table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// The label, or `Value`.
    pub name: String,
    /// The heading.
    pub title: Text,
    /// The label whose values have names and colours in [`Dashboard::names`], if these are its values.
    pub names: Option<String>,
}

/// One query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// PromQL.
    pub expr: String,
    /// What each series is called.
    pub legend: Text,
    /// One value now, instead of a range.
    #[serde(default)]
    pub instant: bool,
}

/// The dashboard in one language, as Grafana loads it.
pub fn render(source: &Dashboard, lang: Lang) -> Value {
    let language_tag = format!("guanjia-{}", lang.suffix());
    let mut tags: Vec<&str> = source.tags.iter().map(String::as_str).collect();
    tags.push(&language_tag);
    let panels: Vec<Value> =
        (1..).zip(&source.panel).map(|(id, panel)| render_panel(source, panel, id, lang)).collect();
    json!({
        "uid": format!("{}-{}", source.uid, lang.suffix()),
        "title": source.title.get(lang),
        "description": source.description.get(lang),
        "tags": tags,
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": source.refresh,
        "time": { "from": "now-3h", "to": "now" },
        "annotations": { "list": [] },
        "links": [{
            "type": "dashboards", "title": if lang == Lang::En { "Dashboards" } else { "仪表盘" }, "tags": [language_tag],
            "asDropdown": true, "includeVars": true, "keepTime": true, "targetBlank": false, "icon": "external link",
            "tooltip": "", "url": ""
        }],
        "templating": { "list": variables(lang) },
        "panels": panels,
    })
}

fn variables(lang: Lang) -> Value {
    let (source_label, site_label) = match lang {
        Lang::En => ("Data source", "Site"),
        Lang::Zh => ("数据源", "项目"),
    };
    let query = "label_values(guanjia_build_info, site)";
    json!([
        { "name": "datasource", "label": source_label, "type": "datasource", "query": "prometheus", "hide": 0,
          "includeAll": false, "multi": false, "options": [], "refresh": 1, "regex": "", "skipUrlSync": false },
        { "name": "site", "label": site_label, "type": "query", "hide": 0, "datasource": datasource(),
          "query": { "query": query, "refId": "site" }, "definition": query, "includeAll": true, "multi": true,
          "allValue": ".+", "current": { "text": ["All"], "value": ["$__all"] }, "options": [], "refresh": 2,
          "regex": "", "sort": 1, "skipUrlSync": false },
    ])
}

fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn render_panel(source: &Dashboard, panel: &Panel, id: u32, lang: Lang) -> Value {
    let [x, y, w, h] = panel.grid;
    let targets: Vec<Value> = ('A'..='Z')
        .zip(&panel.target)
        .map(|(ref_id, target)| render_target(panel.kind, target, ref_id, lang))
        .collect();
    let mut out = json!({
        "id": id,
        "type": match panel.kind {
            Kind::Stat => "stat",
            Kind::Timeseries => "timeseries",
            Kind::StateTimeline => "state-timeline",
            Kind::Table => "table",
        },
        "title": panel.title.get(lang),
        "description": panel.description.get(lang),
        "gridPos": { "x": x, "y": y, "w": w, "h": h },
        "datasource": datasource(),
        "targets": targets,
        "fieldConfig": { "defaults": defaults(source, panel, lang), "overrides": overrides(source, panel, lang) },
        "options": options(panel.kind),
    });
    if panel.kind == Kind::Table {
        out["transformations"] = organize(panel, lang);
    }
    out
}

fn render_target(kind: Kind, target: &Target, ref_id: char, lang: Lang) -> Value {
    let mut out = json!({
        "refId": ref_id.to_string(), "datasource": datasource(), "editorMode": "code", "expr": target.expr,
        "legendFormat": target.legend.get(lang), "instant": target.instant, "range": !target.instant,
    });
    if kind == Kind::Table {
        out["format"] = json!("table");
    }
    out
}

fn defaults(source: &Dashboard, panel: &Panel, lang: Lang) -> Value {
    let mut defaults =
        json!({ "color": { "mode": if panel.kind == Kind::Timeseries { "palette-classic" } else { "thresholds" } } });
    if let Some(unit) = &panel.unit {
        defaults["unit"] = json!(unit);
    }
    if panel.may_be_empty {
        defaults["noValue"] = json!(if lang == Lang::En { "none" } else { "无" });
    }
    if let Some(min) = panel.min {
        defaults["min"] = json!(min);
    }
    if let Some(max) = panel.max {
        defaults["max"] = json!(max);
    }
    let steps: Vec<Value> = panel
        .thresholds
        .iter()
        .map(|step| match step {
            Threshold::Base([color]) => json!({ "color": color, "value": null }),
            Threshold::Step(from, color) => json!({ "color": color, "value": from }),
        })
        .collect();
    let steps = if steps.is_empty() { vec![json!({ "color": "text", "value": null })] } else { steps };
    defaults["thresholds"] = json!({ "mode": "absolute", "steps": steps });
    if let Some(states) = panel.mapping.as_ref().and_then(|key| source.mapping.get(key)) {
        let options: serde_json::Map<String, Value> = states
            .iter()
            .enumerate()
            .map(|(index, (code, state))| {
                (code.clone(), json!({ "text": state_text(state, lang), "color": state.color, "index": index }))
            })
            .collect();
        defaults["mappings"] = json!([{ "type": "value", "options": options }]);
    }
    if panel.kind == Kind::Timeseries {
        defaults["custom"] =
            json!({ "drawStyle": "line", "lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": false });
    }
    if panel.kind == Kind::StateTimeline {
        defaults["custom"] = json!({ "lineWidth": 0, "fillOpacity": 80 });
    }
    defaults
}

fn state_text(state: &Named, lang: Lang) -> &str {
    match lang {
        Lang::En => &state.en,
        Lang::Zh => &state.zh,
    }
}

fn overrides(source: &Dashboard, panel: &Panel, lang: Lang) -> Value {
    if panel.kind == Kind::Table {
        return panel.columns.iter().filter_map(|column| named_cells(source, column, lang)).collect();
    }
    let Some(names) = panel.names.as_ref().and_then(|label| source.names.get(label)) else { return json!([]) };
    let overrides = names.iter().map(|(label, named)| {
        json!({
            "matcher": { "id": "byName", "options": label },
            "properties": [
                { "id": "displayName", "value": state_text(named, lang) },
                { "id": "color", "value": { "mode": "fixed", "fixedColor": named.color } },
            ],
        })
    });
    Value::Array(overrides.collect())
}

/// The words of a column of label values; the column has its heading by then.
fn named_cells(source: &Dashboard, column: &Column, lang: Lang) -> Option<Value> {
    let names = source.names.get(column.names.as_ref()?)?;
    let word = |(index, (label, named)): (usize, (&String, &Named))| {
        (label.clone(), json!({ "text": state_text(named, lang), "color": named.color, "index": index }))
    };
    let options: serde_json::Map<String, Value> = names.iter().enumerate().map(word).collect();
    Some(json!({
        "matcher": { "id": "byName", "options": column.title.get(lang) },
        "properties": [{ "id": "mappings", "value": [{ "type": "value", "options": options }] }],
    }))
}

fn options(kind: Kind) -> Value {
    let tooltip = json!({ "mode": "multi", "sort": "desc" });
    match kind {
        Kind::Stat => json!({
            "colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "textMode": "value",
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        }),
        Kind::Timeseries => json!({
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] }, "tooltip": tooltip,
        }),
        Kind::StateTimeline => json!({
            "mergeValues": true, "showValue": "auto", "alignValue": "left", "rowHeight": 0.8,
            "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] }, "tooltip": tooltip,
        }),
        Kind::Table => json!({ "showHeader": true, "cellHeight": "sm" }),
    }
}

fn organize(panel: &Panel, lang: Lang) -> Value {
    let indices: serde_json::Map<String, Value> =
        panel.columns.iter().enumerate().map(|(index, column)| (column.name.clone(), json!(index))).collect();
    let names: serde_json::Map<String, Value> =
        panel.columns.iter().map(|column| (column.name.clone(), json!(column.title.get(lang)))).collect();
    let hidden = ["Time", "__name__", "instance", "job", "site", "protocol", "Value"];
    let excluded: serde_json::Map<String, Value> = hidden
        .iter()
        .filter(|name| !names.contains_key(**name))
        .map(|name| ((*name).to_owned(), json!(true)))
        .collect();
    json!([{ "id": "organize", "options": { "excludeByName": excluded, "indexByName": indices, "renameByName": names } }])
}
