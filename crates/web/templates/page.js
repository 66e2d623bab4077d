(()=>{const b=document.querySelector("[data-checked]"),l=document.documentElement.lang;
const z=Intl.DateTimeFormat().resolvedOptions().timeZone,f=new Intl.DateTimeFormat(l,{dateStyle:"medium",timeStyle:"short"});
if(z!==document.body.dataset.zone)for(const t of document.querySelectorAll("time")){const s=document.createElement("span");
s.className="local";s.textContent=" ("+document.body.dataset.local.replace("{}",f.format(new Date(t.dateTime)))+")";t.after(s)}
if(!b)return;b.querySelector(".alone").hidden=true;const s=b.querySelector(".stale"),age=()=>{const m=Math.floor((Date.now()-b.dataset.checked)/6e4);
if(m>=5){s.textContent=b.dataset.stale.replace("{}",m);s.hidden=false;b.classList.add("old")}};age();setInterval(age,3e4)})()
