//! For the zoo: foreign files on their way into the cache.

use candle_deeplab::zoo::{Import, Importer, Model};

use crate::families::Card;
use crate::{Checkpoint, Options, convert_checkpoint};

/// Converts the foreign files that the zoo finds.
///
/// ```no_run
/// use candle_core::Device;
/// use candle_deeplab::zoo::Zoo;
/// use weights_convert::WeightsConvert;
///
/// let zoo = Zoo::from_env()?.with_importer(&WeightsConvert);
/// let model = zoo.load("deeplabv3plus-xception65-voc", &Device::Cpu)?;
/// # Ok::<(), candle_deeplab::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct WeightsConvert;

/// To be counted up whenever a published file converts to something else than before.
const REVISION: u32 = 3;

impl Importer for WeightsConvert {
    fn name(&self) -> String {
        concat!("weights-convert ", env!("CARGO_PKG_VERSION")).into()
    }

    fn revision(&self) -> u32 {
        REVISION
    }

    fn import(&self, import: &Import) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let options = Options {
            output_stride: import.hints.output_stride,
            atrous_rates: import.hints.atrous_rates.map(<[usize]>::to_vec),
            labels: import.hints.labels.map(str::to_owned),
            card: import.model.map(card).unwrap_or_default(),
            ..Options::default()
        };
        let checkpoint = match import.beside {
            Some(folder) => Checkpoint::open_beside(import.source, folder)?,
            None => Checkpoint::open(import.source)?,
        };
        convert_checkpoint(&checkpoint, import.out, &options, false)?;
        Ok(())
    }
}

/// What the registry knows of a published model.
fn card(model: &Model) -> Card {
    Card {
        license: Some(model.licence.to_lowercase()),
        datasets: vec![model.dataset.to_owned()],
        miou: model.evaluations.first().map(|evaluation| evaluation.miou),
    }
}
