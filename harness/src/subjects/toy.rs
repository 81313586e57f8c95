//! The example of `docs/adding-a-protocol.md`: registers whose replicas gossip.

use crate::sim::settings::Knobs;
use crate::subject::{ClientKind, Clocks, Drawn, OwnSystem, Promise, Properties, Reads, System};
use protocol::quorum::Quorums;
use rand::seq::IndexedRandom;
use rand_xoshiro::Xoshiro256PlusPlus;
use runtime::Durability;
use serde_yaml::Mapping;
use workloads::Spec;

pub(crate) const SYSTEM: System = System::new(&Toy);

struct Toy;

impl OwnSystem for Toy {
    type Core = toy::Toy;
    type Observer = ();

    const PROPERTIES: Properties = Properties {
        name: "toy",
        about: "an example: registers whose replicas gossip",
        program: "toy-node",
        is_example: true,
        promise: Promise::Convergent,
        quorums: Quorums::Majority,
        replicas: None,
        leads: false,
        client: ClientKind::Matching,
        changes_members: false,
        marks: Ok(()),
        clocks: Clocks::None,
        reads: &[(Reads::Default, "what a majority says alike")],
        durability: &[Durability::Fsync, Durability::Memory],
        adversaries: &[],
        workloads: registers,
    };

    fn draw(_: &Knobs, _clocks_are_bent: bool, rng: &mut Xoshiro256PlusPlus) -> Option<Drawn> {
        let mut options = Mapping::new();
        for (name, values) in [("gossip_ms", [5, 20]), ("gossip_cells", [10, 100])] {
            options.insert(name.into(), (*values.choose(rng).expect("a constant list")).into());
        }
        Some(Drawn { options, reads: Reads::Default, clock_drift: 0.0 })
    }
}

fn registers(spec: &Spec) -> Result<(), &'static str> {
    match spec {
        Spec::Put(_) => Ok(()),
        Spec::Register(register) if register.cas == 0.0 => Ok(()),
        Spec::Register(_) => Err("its registers cannot compare and swap: cas must be 0"),
        Spec::Append(_) | Spec::Set(_) | Spec::Counter(_) | Spec::Bank(_) | Spec::Ycsb(_) => {
            Err("it has registers only, which are read and written")
        }
    }
}
