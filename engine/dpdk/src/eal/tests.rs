use super::*;

#[test]
fn arguments_say_what_the_plan_says() {
    let plan = EalPlan {
        main_core: 1,
        worker_cores: vec![0, 1, 1],
        memory_mb: 64,
        file_prefix: "a".into(),
        vdevs: vec!["net_null0,size=64".into()],
        ..EalPlan::default()
    };
    let arguments = plan.arguments(false);
    assert_eq!(
        arguments,
        [
            "foreshift",
            "--lcores=0@1,1@0,2@1,3@1",
            "--main-lcore=0",
            "-m64",
            "--file-prefix=a",
            "--no-telemetry",
            "--log-level=warning",
            "--no-huge",
            "--no-shconf",
            "--no-pci",
            "--iova-mode=va",
            "--vdev=net_null0,size=64"
        ]
    );
    let pci = EalPlan { pci: vec!["0000:01:00.0".into()], ..plan };
    let arguments = pci.arguments(true);
    assert!(arguments.contains(&"--allow=0000:01:00.0".to_owned()));
    assert!(arguments.contains(&"--in-memory".to_owned()));
    assert!(!arguments.iter().any(|a| a == "--no-pci" || a == "--no-huge" || a.starts_with("--iova-mode")));
}

#[test]
fn hugepages_are_used_when_enough_are_free() {
    let meminfo = |free| format!("HugePages_Total: 99\nHugePages_Free:  {free}\nHugepagesize:    2048 kB\n");
    let plan = EalPlan { memory_mb: 64, ..EalPlan::default() };
    assert!(!plan.wants_hugepages(&meminfo(0)));
    assert!(!plan.wants_hugepages(&meminfo(31)));
    assert!(plan.wants_hugepages(&meminfo(32)));
    assert!(!plan.wants_hugepages("no such lines"));
    assert!(EalPlan { hugepages: Hugepages::On, ..plan.clone() }.wants_hugepages(&meminfo(0)));
    assert!(!EalPlan { hugepages: Hugepages::Off, ..plan }.wants_hugepages(&meminfo(99)));
}

/// Refused before EAL is touched, so that this process could still start it.
#[test]
fn a_plan_that_cannot_run_is_refused_with_the_remedy() {
    let refused = |plan: EalPlan| Eal::init(&plan).err().expect("refused").to_string();
    let core = refused(EalPlan { worker_cores: vec![0, 1023], ..EalPlan::default() });
    assert!(core.contains("CPU 1023") && core.contains("may use"), "{core}");
    let lcores = refused(EalPlan { worker_cores: vec![0; 4096], ..EalPlan::default() });
    assert!(lcores.contains("4097 lcores"), "{lcores}");
    let memory = refused(EalPlan { memory_mb: 0, ..EalPlan::default() });
    assert!(memory.contains("memory_mb"), "{memory}");
    let nul = refused(EalPlan { file_prefix: "a\0b".into(), ..EalPlan::default() });
    assert!(nul.contains("NUL"), "{nul}");
}
