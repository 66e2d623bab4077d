//! What Hetzner sells in the rehearsal: a few locations, types and images, in the shapes of its API.

use serde_json::{Value, json};

/// Name, city, country, zone.
const LOCATIONS: [(&str, &str, &str, &str); 3] = [
    ("fsn1", "Falkenstein", "DE", "eu-central"),
    ("nbg1", "Nuremberg", "DE", "eu-central"),
    ("hel1", "Helsinki", "FI", "eu-central"),
];

/// Name, architecture, cores, memory in GB, disk in GB, euros a month before tax.
const TYPES: [(&str, &str, u32, f64, u32, &str); 4] = [
    ("cx23", "x86", 2, 4.0, 40, "3.4900000000"),
    ("cax11", "arm", 2, 4.0, 40, "3.7900000000"),
    ("cx33", "x86", 4, 8.0, 80, "5.4900000000"),
    ("cpx22", "x86", 2, 4.0, 80, "6.4900000000"),
];

/// Name, flavour, version.
const IMAGES: [(&str, &str, &str); 3] = [
    ("debian-12", "debian", "12"),
    ("debian-13", "debian", "13"),
    ("ubuntu-24.04", "ubuntu", "24.04"),
];

fn number(index: usize) -> u64 {
    u64::try_from(index).unwrap_or(0) + 1
}

pub(super) fn location(name: &str) -> Option<Value> {
    let at = LOCATIONS.iter().position(|l| l.0 == name)?;
    let (name, city, country, zone) = LOCATIONS[at];
    Some(json!({
        "id": number(at), "name": name, "description": format!("{city} DC Park 1"), "country": country, "city": city,
        "latitude": 50.47, "longitude": 12.37, "network_zone": zone,
    }))
}

pub(super) fn locations() -> Vec<Value> {
    LOCATIONS.iter().filter_map(|l| location(l.0)).collect()
}

pub(super) fn datacenter(name: &str) -> Option<Value> {
    let types: Vec<u64> = (0..TYPES.len()).map(number).collect();
    let types = json!({ "supported": types, "available": types, "available_for_migration": types });
    let location = location(name)?;
    Some(json!({
        "id": location["id"], "name": format!("{name}-dc1"), "description": format!("{name} DC 1"),
        "location": location, "server_types": types,
    }))
}

pub(super) fn server_type(name: &str) -> Option<Value> {
    let at = TYPES.iter().position(|t| t.0 == name)?;
    let (name, architecture, cores, memory, disk, month) = TYPES[at];
    let amount = |net: &str| json!({ "net": net, "gross": net });
    let price = |l: &(&str, &str, &str, &str)| {
        json!({
            "location": l.0, "price_hourly": amount("0.0056000000"), "price_monthly": amount(month),
            "included_traffic": 21_990_232_555_520_u64, "price_per_tb_traffic": amount("1.0000000000"),
        })
    };
    let sold = LOCATIONS.iter().enumerate();
    let sold = sold.map(|(at, l)| json!({ "id": number(at), "name": l.0, "deprecation": null }));
    Some(json!({
        "id": number(at), "name": name, "description": name.to_uppercase(), "cores": cores, "memory": memory,
        "disk": disk, "deprecated": false, "deprecation": null, "category": "Shared vCPU",
        "prices": LOCATIONS.iter().map(price).collect::<Vec<_>>(), "storage_type": "local", "cpu_type": "shared",
        "architecture": architecture, "locations": sold.collect::<Vec<_>>(),
    }))
}

pub(super) fn server_types() -> Vec<Value> {
    TYPES.iter().filter_map(|t| server_type(t.0)).collect()
}

pub(super) fn image(name: &str) -> Option<Value> {
    let at = IMAGES.iter().position(|i| i.0 == name)?;
    let (name, flavour, version) = IMAGES[at];
    Some(json!({
        "id": number(at), "type": "system", "status": "available", "name": name, "description": name, "image_size": null,
        "disk_size": 5, "created": "2025-08-11T08:00:00Z", "created_from": null, "bound_to": null, "os_flavor": flavour,
        "os_version": version, "rapid_deploy": true, "protection": { "delete": false }, "deprecated": null,
        "deleted": null, "labels": {}, "architecture": "x86",
    }))
}
