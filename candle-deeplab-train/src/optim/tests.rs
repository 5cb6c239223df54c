use candle_core::{Device, Var};
use candle_deeplab::arch;
use candle_deeplab::config::{Backbone, Network};
use candle_deeplab::graph::Role;

use super::*;

#[derive(serde::Deserialize)]
struct Golden {
    start: Vec<Vec<f32>>,
    rates: Vec<f64>,
    weight_decay: f64,
    clip_norm: f64,
    gradients: Vec<Vec<Option<Vec<f32>>>>,
    /// Parameters after each step, for each optimiser.
    after: std::collections::BTreeMap<String, Vec<Vec<Vec<f32>>>>,
    norms: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../tests/golden/optimizers.json")).unwrap()
}

fn tensor(values: &[f32]) -> Tensor {
    Tensor::new(values, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_vec1().unwrap()
}

/// The recipe of a golden optimiser.
fn recipe(name: &str, golden: &Golden) -> Recipe {
    let sgd = |momentum, nesterov| Rule::Sgd(SgdRecipe { momentum, nesterov });
    let rule = match name {
        "plain" => sgd(0.0, false),
        "nesterov" => sgd(0.9, true),
        "sgd" | "clipped" => sgd(0.9, false),
        "adamw" => Rule::Adamw(AdamWRecipe { beta1: 0.8, beta2: 0.95, epsilon: 1e-6 }),
        other => panic!("{other}"),
    };
    let clip_norm = (name == "clipped").then_some(golden.clip_norm);
    Recipe { rule, weight_decay: golden.weight_decay, clip_norm, ..Recipe::default() }
}

/// An optimiser of two parameters: the second has ten times the rate and no decay.
fn optimizer(recipe: &Recipe, start: &[Vec<f32>]) -> (Optimizer, Vec<Var>) {
    let parameters: Vec<Var> = start.iter().map(|values| Var::from_tensor(&tensor(values)).unwrap()).collect();
    let group = |name: &str, rate, decay| Group { name: name.to_owned(), rate, decay };
    let groups = vec![group("a", 1.0, true), group("b", 10.0, false)];
    (Optimizer::new(recipe, parameters.clone(), groups).unwrap(), parameters)
}

fn gradients(step: &[Option<Vec<f32>>]) -> Vec<Option<Tensor>> {
    step.iter().map(|gradient| gradient.as_deref().map(tensor)).collect()
}

#[test]
fn steps_are_those_of_torch() {
    let golden = golden();
    assert_eq!(golden.after.len(), 5);
    for (name, after) in &golden.after {
        let (mut optimizer, parameters) = optimizer(&recipe(name, &golden), &golden.start);
        for (step, after) in after.iter().enumerate() {
            let norm = optimizer.step(&gradients(&golden.gradients[step]), golden.rates[step]).unwrap();
            assert!((norm - golden.norms[step]).abs() < 1e-5, "step {step}: {norm}");
            for (parameter, after) in parameters.iter().zip(after) {
                for (ours, wanted) in values(parameter).iter().zip(after) {
                    assert!((ours - wanted).abs() < 1e-6 * (1.0 + wanted.abs()), "{name}: {step}: {ours} {wanted}");
                }
            }
        }
    }
}

#[test]
fn updates_in_place_are_those_of_tensor_operations() {
    let golden = golden();
    for name in ["sgd", "nesterov", "clipped"] {
        let (mut in_place, parameters) = optimizer(&recipe(name, &golden), &golden.start);
        // With a gradient that is not contiguous, nothing is changed in place.
        let (mut by_tensors, others) = optimizer(&recipe(name, &golden), &golden.start);
        for (step, &rate) in golden.rates.iter().enumerate() {
            let gradients = gradients(&golden.gradients[step]);
            let scattered = |tensor: &Tensor| {
                let scattered =
                    Tensor::stack(&[tensor, tensor], 1).unwrap().narrow(1, 0, 1).unwrap().squeeze(1).unwrap();
                assert!(!scattered.is_contiguous());
                scattered
            };
            let spread: Vec<_> = gradients.iter().map(|gradient| gradient.as_ref().map(scattered)).collect();
            in_place.step(&gradients, rate).unwrap();
            by_tensors.step(&spread, rate).unwrap();
            for (ours, theirs) in parameters.iter().zip(&others) {
                assert_eq!(values(ours), values(theirs), "{name}");
            }
        }
    }
}

#[test]
fn a_saved_state_is_not_changed_by_later_steps() {
    let golden = golden();
    for name in golden.after.keys() {
        let (mut optimizer, _) = optimizer(&recipe(name, &golden), &golden.start);
        optimizer.step(&gradients(&golden.gradients[0]), 0.1).unwrap();
        let state = optimizer.state().unwrap();
        let of = |state: &[(String, Tensor)]| -> Vec<String> { state.iter().map(|(_, t)| t.to_string()).collect() };
        let before = of(&state);
        optimizer.step(&gradients(&golden.gradients[1]), 0.1).unwrap();
        assert_eq!(of(&state), before, "{name}");
    }
}

#[test]
fn a_saved_state_goes_on_bit_for_bit() {
    let golden = golden();
    for name in golden.after.keys() {
        let recipe = recipe(name, &golden);
        let (mut whole, parameters) = optimizer(&recipe, &golden.start);
        let run = |optimizer: &mut Optimizer, steps: std::ops::Range<usize>| {
            for step in steps {
                optimizer.step(&gradients(&golden.gradients[step]), golden.rates[step]).unwrap();
            }
        };
        run(&mut whole, 0..2);
        let start: Vec<Vec<f32>> = parameters.iter().map(|parameter| values(parameter)).collect();
        let (mut resumed, resumed_parameters) = optimizer(&recipe, &start);
        resumed.load_state(whole.state().unwrap()).unwrap();
        run(&mut whole, 2..4);
        run(&mut resumed, 2..4);
        for (ours, theirs) in resumed_parameters.iter().zip(&parameters) {
            assert_eq!(values(ours), values(theirs), "{name}");
        }
        let of = |optimizer: &Optimizer| -> Vec<(String, String)> {
            optimizer.state().unwrap().into_iter().map(|(name, tensor)| (name, tensor.to_string())).collect()
        };
        assert_eq!(of(&resumed), of(&whole), "{name}");
    }
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let golden = golden();
    let name_of = |error: Error| match error {
        Error::State { name, .. } => name,
        other => panic!("{other}"),
    };
    for kind in ["sgd", "adamw"] {
        let (mut optimizer, _) = optimizer(&recipe(kind, &golden), &golden.start);
        let foreign = vec![("momentum.c".to_owned(), tensor(&[1.0]))];
        assert_eq!(name_of(optimizer.load_state(foreign).unwrap_err()), "momentum.c");
    }
    let (mut sgd, _) = optimizer(&recipe("sgd", &golden), &golden.start);
    let misshapen = vec![("momentum.a".to_owned(), tensor(&[1.0]))];
    assert_eq!(name_of(sgd.load_state(misshapen).unwrap_err()), "momentum.a");
    let (mut adamw, _) = optimizer(&recipe("adamw", &golden), &golden.start);
    adamw.step(&gradients(&golden.gradients[0]), 0.1).unwrap();
    let mut state = adamw.state().unwrap();
    state.pop();
    assert_eq!(name_of(adamw.load_state(state).unwrap_err()), "b");
    let half_a_step = vec![("steps.a".to_owned(), Tensor::new(0.5f32, &Device::Cpu).unwrap())];
    assert_eq!(name_of(adamw.load_state(half_a_step).unwrap_err()), "steps.a");
}

#[test]
fn gradients_that_are_not_finite_change_nothing() {
    let golden = golden();
    let (mut optimizer, parameters) = optimizer(&recipe("clipped", &golden), &golden.start);
    let gradients = [Some(tensor(&[f32::NAN; 5])), Some(tensor(&[1.0; 3]))];
    assert!(matches!(optimizer.step(&gradients, 0.1), Err(Error::Diverged { value, .. }) if value.is_nan()));
    assert_eq!(values(&parameters[1]), golden.start[1]);
    assert!(optimizer.state().unwrap().is_empty());
}

#[test]
fn a_frozen_parameter_keeps_its_value_and_has_no_state() {
    let parameters = vec![Var::from_tensor(&tensor(&[1.0])).unwrap()];
    let groups = vec![Group { name: "a".to_owned(), rate: 0.0, decay: true }];
    let mut optimizer = Optimizer::new(&Recipe::default(), parameters.clone(), groups).unwrap();
    optimizer.step(&[Some(tensor(&[1.0]))], 0.1).unwrap();
    assert_eq!(values(&parameters[0]), [1.0]);
    assert!(optimizer.state().unwrap().is_empty());
    assert!(optimizer.step(&[], 0.1).is_err());
    assert!(Optimizer::new(&Recipe::default(), parameters, vec![]).is_err());
}

#[test]
fn accumulated_gradients_are_their_mean() {
    let mut accumulator = Accumulator::new(3);
    let batch = |a: f32, b: Option<f32>| vec![Some(tensor(&[a])), b.map(|b| tensor(&[b])), None];
    assert!(accumulator.add(batch(1.0, None)).unwrap().is_none());
    assert!(accumulator.is_pending());
    assert!(accumulator.add(vec![None]).is_err());
    assert!(accumulator.add(batch(2.0, Some(9.0))).unwrap().is_none());
    let mean = accumulator.add(batch(6.0, None)).unwrap().unwrap();
    assert_eq!((values(mean[0].as_ref().unwrap()), values(mean[1].as_ref().unwrap())), (vec![3.0], vec![3.0]));
    assert!(mean[2].is_none() && !accumulator.is_pending());
    assert!(accumulator.add(batch(1.0, None)).unwrap().is_none());
    let single = Accumulator::new(1).add(batch(4.0, None)).unwrap().unwrap();
    assert_eq!(values(single[0].as_ref().unwrap()), [4.0]);
}

#[test]
fn the_average_forgets_fast_at_first() {
    let start = tensor(&[1.0]);
    let new = || Ema::new(&EmaRecipe { decay: 0.25, warm_up: true }, [("w".to_owned(), &start)]).unwrap();
    let mut ema = new();
    let mut expected = 1.0_f64;
    for (t, value) in [3.0, -1.0, 2.0, 8.0].into_iter().enumerate() {
        let decay = f64::min(0.25, (1.0 + t as f64) / (10.0 + t as f64));
        assert_eq!(ema.decay(), decay);
        expected = decay * expected + (1.0 - decay) * value;
        ema.update([&tensor(&[value as f32])]).unwrap();
        let average = f64::from(values(&ema.averages()[0].1)[0]);
        assert!((average - expected).abs() < 1e-6, "{average} against {expected}");
    }
    let mut resumed = new();
    resumed.load_state(ema.state().unwrap()).unwrap();
    for ema in [&mut ema, &mut resumed] {
        ema.update([&tensor(&[0.3])]).unwrap();
    }
    assert_eq!(values(&ema.averages()[0].1), values(&resumed.averages()[0].1));
    assert_eq!(ema.decay(), resumed.decay());
    assert!(matches!(ema.load_state(vec![]), Err(Error::State { .. })));
    assert!(ema.update([]).is_err());
}

#[test]
fn an_average_is_not_changed_with_its_parameter() {
    let parameter = Var::from_tensor(&tensor(&[1.0])).unwrap();
    let ema = Ema::new(&EmaRecipe::default(), [("w".to_owned(), parameter.as_tensor())]).unwrap();
    parameter.set(&tensor(&[5.0])).unwrap();
    assert_eq!(values(&ema.averages()[0].1), [1.0]);
}

#[test]
fn groups_follow_roles_and_places() {
    let graph = arch::graph(&Network::deeplabv3plus(Backbone::mobilenet_v2(0.5), 5)).unwrap();
    let grouping =
        Grouping { head_rate: 10.0, backbone_rate: 0.5, bias_rate: 2.0, decay_depthwise: false, ..Grouping::default() };
    let groups = groups(&graph, &grouping);
    let mut kinds = std::collections::BTreeSet::new();
    for (group, param) in groups.iter().zip(graph.params()) {
        assert_eq!(group.name, param.name);
        let backbone = param.name.starts_with("backbone.");
        let part = if backbone { 0.5 } else { 10.0 };
        let depthwise = param.role == Role::Kernel && param.shape[1] == 1;
        let wanted = match param.role {
            Role::Kernel => (part, !depthwise),
            Role::Bias => (2.0 * part, false),
            Role::Gamma | Role::Beta => (part, false),
            Role::Mean | Role::Variance => (0.0, false),
        };
        assert_eq!((group.rate, group.decay), wanted, "{}", group.name);
        kinds.insert(format!("{backbone} {:?} {depthwise}", param.role));
    }
    assert_eq!(groups.len(), graph.params().len());
    // Of both parts, four roles of a norm and two kinds of kernels; and the classifier's bias.
    assert_eq!(kinds.len(), 13, "{kinds:?}");
}

#[test]
fn recipes_outside_their_range_are_refused() {
    let setting = |text: &str| match toml::from_str::<Recipe>(text).unwrap().check().unwrap_err() {
        Error::Recipe { setting, .. } => setting,
        other => panic!("{other}"),
    };
    assert_eq!(setting("rule = { kind = 'sgd', momentum = 1 }"), "optimizer.rule.momentum");
    assert_eq!(setting("rule = { kind = 'sgd', momentum = 0, nesterov = true }"), "optimizer.rule.nesterov");
    assert_eq!(setting("rule = { kind = 'adamw', beta2 = nan }"), "optimizer.rule.beta2");
    assert_eq!(setting("weight_decay = -1"), "optimizer.weight_decay");
    assert_eq!(setting("groups.head_rate = inf"), "optimizer.groups.head_rate");
    assert_eq!(setting("clip_norm = 0"), "optimizer.clip_norm");
    assert_eq!(setting("accumulate = 0"), "optimizer.accumulate");
    assert!(toml::from_str::<Recipe>("rule = { kind = 'adamw', momentum = 0.9 }").is_err());
    let recipe = Recipe { rule: Rule::Adamw(AdamWRecipe::default()), ..Recipe::default() };
    assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
}
