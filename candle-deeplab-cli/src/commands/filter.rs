//! The filters of `models` and `cache list`.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use candle_deeplab_hub::{self as hub, Entry};

/// Selects models by the first letters of their data set and backbone.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) dataset: Option<String>,
    pub(super) backbone: Option<String>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.dataset.is_none() && self.backbone.is_none()
    }

    pub(super) fn passes(&self, dataset: &str, backbone: &str) -> bool {
        let begins = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| plain(value).starts_with(&plain(wanted)))
        };
        begins(&self.dataset, dataset) && begins(&self.backbone, backbone)
    }

    /// Refuses a filter that no model of the registry passes: it is a typing mistake.
    pub(super) fn check(&self) -> Result<()> {
        let (datasets, backbones): (Field, Field) = (|model| model.dataset, |model| model.backbone);
        let all = Self::default();
        let of_dataset = Self { dataset: self.dataset.clone(), backbone: None };
        let of_backbone = Self { dataset: None, backbone: self.backbone.clone() };
        for (flag, wanted, filter, field) in [
            ("--dataset", &self.dataset, &of_dataset, datasets),
            ("--backbone", &self.backbone, &of_backbone, backbones),
        ] {
            if let (Some(wanted), true) = (wanted, filter.values(field).is_empty()) {
                bail!("`{flag} {wanted}`: choose one of {}", all.values(field).join(", "));
            }
        }
        if let (Some(dataset), Some(backbone), true) = (&self.dataset, &self.backbone, self.values(datasets).is_empty())
        {
            bail!(
                "no model has both `--dataset {dataset}` and `--backbone {backbone}`: with that data set choose one of {}, \
                 with that backbone one of {}",
                of_dataset.values(backbones).join(", "),
                of_backbone.values(datasets).join(", ")
            );
        }
        Ok(())
    }

    /// The different values of a field among the models that pass.
    fn values(&self, field: Field) -> Vec<&'static str> {
        let passing = hub::list().iter().filter(|model| self.passes(model.dataset, model.backbone));
        passing.map(field).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

type Field = fn(&Entry) -> &'static str;

/// A name in lower case and without separators, which people write in different ways: `mobilenetv2` for `MobileNet_v2`.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-', ' '], "")
}
